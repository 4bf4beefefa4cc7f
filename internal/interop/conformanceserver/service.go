package main

import (
	"context"
	stderrors "errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
)

// register adds the endpoints of the suite's service but for Unimplemented,
// which is to be answered as one that does not exist.
func register(s micro.Service) error {
	return stderrors.Join(
		micro.Handle(s, "ConformanceService.Unary", unary[unaryRequest, unaryResponse]),
		micro.Handle(s, "ConformanceService.IdempotentUnary", unary[idempotentUnaryRequest, idempotentUnaryResponse], server.Safe("ConformanceService.IdempotentUnary")),
		micro.HandleServerStream(s, "ConformanceService.ServerStream", serverStream),
		micro.HandleClientStream(s, "ConformanceService.ClientStream", clientStream),
		micro.HandleBidiStream(s, "ConformanceService.BidiStream", bidiStream),
	)
}

func unary[Req, Rsp name](ctx context.Context, req *message[Req]) (*message[Rsp], error) {
	m := req.ProtoReflect()
	info := newRequestInfo(ctx)
	info.add(m)
	return answerOne[Rsp](ctx, definitionOf(m), info)
}

func clientStream(ctx context.Context, stream server.RecvStream[message[clientStreamRequest]]) (*message[clientStreamResponse], error) {
	info := newRequestInfo(ctx)
	var def definition
	for m, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		if info.n == 0 {
			def = definitionOf(m.ProtoReflect())
		}
		info.add(m.ProtoReflect())
	}
	return answerOne[clientStreamResponse](ctx, def, info)
}

// answerOne answers with one message, as a definition says.
func answerOne[Rsp name](ctx context.Context, def definition, info *requestInfo) (*message[Rsp], error) {
	if err := def.sendMetadata(ctx); err != nil {
		return nil, err
	}
	if err := pause(ctx, def.delay()); err != nil {
		return nil, err
	}
	if e := def.err(); e != nil {
		return nil, e.with(info)
	}
	rsp := new(message[Rsp])
	fillPayload(rsp, def.one(), info)
	return rsp, nil
}

func serverStream(ctx context.Context, req *message[serverStreamRequest], stream server.SendStream[message[serverStreamResponse]]) error {
	m := req.ProtoReflect()
	info := newRequestInfo(ctx)
	info.add(m)
	def := definitionOf(m)
	if err := def.sendMetadata(ctx); err != nil {
		return err
	}
	return answerRest(ctx, def, 0, info, stream.Send)
}

func bidiStream(ctx context.Context, stream server.BidiStream[message[bidiStreamRequest], message[bidiStreamResponse]]) error {
	info := newRequestInfo(ctx)
	var def definition
	sent, full, first := 0, false, true
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		m := req.ProtoReflect()
		info.add(m)
		if first {
			first = false
			def = definitionOf(m)
			full = m.Get(field(m, "full_duplex")).Bool()
			if err := def.sendMetadata(ctx); err != nil {
				return err
			}
		}
		if !full {
			continue
		}
		if sent >= def.count() {
			break // what is left to say is the error
		}
		if err := answerNext(ctx, def, sent, info, stream.Send); err != nil {
			return err
		}
		sent++
		info = &requestInfo{m: newMessage("ConformancePayload.RequestInfo")}
	}
	return answerRest(ctx, def, sent, info, stream.Send)
}

// answerRest sends the messages of a definition from the given one on, and then
// its error.
func answerRest[Rsp name](ctx context.Context, def definition, from int, info *requestInfo, send func(*message[Rsp]) error) error {
	sent := from
	if sent > 0 {
		info = nil // only the first message tells of the requests
	}
	for ; sent < def.count(); sent++ {
		if err := answerNext(ctx, def, sent, info, send); err != nil {
			return err
		}
		info = nil
	}
	e := def.err()
	switch {
	case e == nil:
		return nil
	case sent == 0:
		return e.with(info)
	}
	return e.with(nil)
}

func answerNext[Rsp name](ctx context.Context, def definition, i int, info *requestInfo, send func(*message[Rsp]) error) error {
	if err := pause(ctx, def.delay()); err != nil {
		return err
	}
	rsp := new(message[Rsp])
	fillPayload(rsp, def.each(i), info)
	return send(rsp)
}

// fillPayload fills the payload that every response has. info may be nil.
func fillPayload(rsp proto.Message, data []byte, info *requestInfo) {
	m := rsp.ProtoReflect()
	payload := m.Mutable(field(m, "payload")).Message()
	if len(data) > 0 {
		payload.Set(field(payload, "data"), protoreflect.ValueOfBytes(data))
	}
	if info != nil {
		payload.Set(field(payload, "request_info"), protoreflect.ValueOfMessage(info.m))
	}
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// requestInfo gathers what a handler has seen of a call, to be told to the
// caller.
type requestInfo struct {
	m protoreflect.Message
	n int // how many requests
}

func newRequestInfo(ctx context.Context) *requestInfo {
	m := newMessage("ConformancePayload.RequestInfo")
	if end, ok := ctx.Deadline(); ok {
		m.Set(field(m, "timeout_ms"), protoreflect.ValueOfInt64(time.Until(end).Milliseconds()))
	}
	header, _ := metadata.HeaderFromContext(ctx)
	list := m.Mutable(field(m, "request_headers")).List()
	seen := make(map[string]protoreflect.List)
	for _, f := range header {
		values, ok := seen[f.Key]
		if !ok {
			h := list.AppendMutable().Message()
			h.Set(field(h, "name"), protoreflect.ValueOfString(f.Key))
			values = h.Mutable(field(h, "value")).List()
			seen[f.Key] = values
		}
		values.Append(protoreflect.ValueOfString(f.Value))
	}
	return &requestInfo{m: m}
}

// add adds a request.
func (i *requestInfo) add(req protoreflect.Message) {
	b, err := proto.Marshal(req.Interface())
	if err != nil {
		panic(err) // it has just been decoded
	}
	a := i.m.Mutable(field(i.m, "requests")).List().AppendMutable().Message()
	a.Set(field(a, "type_url"), protoreflect.ValueOfString(typeURL(req)))
	a.Set(field(a, "value"), protoreflect.ValueOfBytes(b))
	i.n++
}

func typeURL(m protoreflect.Message) string {
	return "type.googleapis.com/" + string(m.Descriptor().FullName())
}
