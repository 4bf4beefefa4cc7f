package server

import (
	"context"
	"io"
	"iter"
	"reflect"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// SendStream is the sending side of a typed stream. One goroutine at a time may
// use it.
type SendStream[T any] struct{ s Stream }

// Send sends a message. It waits while the caller takes no more, and fails when
// the call has ended.
func (s SendStream[T]) Send(m *T) error { return s.s.Send(m) }

// Context is the context of the call.
func (s SendStream[T]) Context() context.Context { return s.s.Context() }

// RecvStream is the receiving side of a typed stream. One goroutine at a time
// may use it.
type RecvStream[T any] struct{ s Stream }

// Recv returns the next message, io.EOF when the caller has sent all.
func (s RecvStream[T]) Recv() (*T, error) {
	m := new(T)
	if err := s.s.Recv(m); err != nil {
		return nil, err
	}
	return m, nil
}

// All yields the messages until the caller has sent all. An error is yielded
// once, last, with a nil message.
func (s RecvStream[T]) All() iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for {
			m, err := s.Recv()
			if err == io.EOF {
				return
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Context is the context of the call.
func (s RecvStream[T]) Context() context.Context { return s.s.Context() }

// BidiStream is a typed stream both ways. One goroutine may send while another
// receives.
type BidiStream[Req, Rsp any] struct {
	RecvStream[Req]
	send SendStream[Rsp]
}

// Send sends a message. It waits while the caller takes no more, and fails when
// the call has ended.
func (s BidiStream[Req, Rsp]) Send(m *Rsp) error { return s.send.Send(m) }

// TypedServerStream returns a handler that answers one request with any number
// of messages.
func TypedServerStream[Req, Rsp any](name string, fn func(context.Context, *Req, SendStream[Rsp]) error, opts ...HandlerOption) Handler {
	return typedStream[Req, Rsp](name, transport.KindServerStream, fn, opts, func(ctx context.Context, s Stream) error {
		req := new(Req)
		if err := s.Recv(req); err != nil {
			return noRequest(name, err)
		}
		return fn(ctx, req, SendStream[Rsp]{s})
	})
}

// TypedClientStream returns a handler that answers any number of messages with
// one. A nil response without an error is an empty one.
func TypedClientStream[Req, Rsp any](name string, fn func(context.Context, RecvStream[Req]) (*Rsp, error), opts ...HandlerOption) Handler {
	return typedStream[Req, Rsp](name, transport.KindClientStream, fn, opts, func(ctx context.Context, s Stream) error {
		rsp, err := fn(ctx, RecvStream[Req]{s})
		if err != nil {
			return err
		}
		if rsp == nil {
			rsp = new(Rsp)
		}
		return s.Send(rsp)
	})
}

// TypedBidiStream returns a handler of a stream with any number of messages
// each way.
func TypedBidiStream[Req, Rsp any](name string, fn func(context.Context, BidiStream[Req, Rsp]) error, opts ...HandlerOption) Handler {
	return typedStream[Req, Rsp](name, transport.KindBidi, fn, opts, func(ctx context.Context, s Stream) error {
		return fn(ctx, BidiStream[Req, Rsp]{RecvStream[Req]{s}, SendStream[Rsp]{s}})
	})
}

func typedStream[Req, Rsp any](name string, kind transport.Kind, fn any, opts []HandlerOption, serve func(context.Context, Stream) error) Handler {
	h := &handler{name: name, value: fn, opts: newHandlerOptions(opts)}
	if h.checkName() {
		h.add(&endpoint{name: name, kind: kind, request: reflect.TypeFor[Req](), response: reflect.TypeFor[Rsp](), serve: serve}, describe(reflect.TypeFor[Req]()), describe(reflect.TypeFor[Rsp]()))
	}
	return h
}

// noRequest is the error of a stream that should begin with a request.
func noRequest(name string, err error) error {
	if err == io.EOF {
		// The code that gRPC has for a number of messages other than the method's.
		return errors.NewCode(serverId, errors.CodeUnimplemented, "%s: the caller sent no request", name)
	}
	return err
}
