package server

import (
	"context"
	"io"
	"sync"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/codecs"
	"github.com/seed-9a4e2794/micro/transport"
)

// serverStream implements Stream on a Socket.
type serverStream struct {
	sock  transport.Socket
	table codecs.Table
	req   *request

	mu    sync.Mutex
	ctype string // of the last message received
	err   error
}

func (s *serverStream) Context() context.Context { return s.sock.Context() }
func (s *serverStream) Request() Request         { return s.req }
func (s *serverStream) Close() error             { return nil }

func (s *serverStream) Error() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *serverStream) fail(err error) error {
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return err
}

// Send answers in the encoding of what has been received; before that, in that
// of the message's type.
func (s *serverStream) Send(v any) error {
	s.mu.Lock()
	ctype := s.ctype
	s.mu.Unlock()
	if ctype == "" {
		h, err := s.sock.Header()
		if err == nil {
			ctype, _ = h.Get(acceptKey)
		}
		if _, err := s.table.Find(ctype, v); err != nil {
			ctype = "" // the caller takes what is not known here, so it gets what there is
		}
	}
	c, err := s.table.Find(ctype, v)
	if err != nil {
		return s.fail(errors.NewCode(serverId, errors.CodeInvalidArgument, "%s: %v", s.req.endpoint, err))
	}
	return s.fail(s.sock.Send(transport.Message{Value: v, Codec: c}))
}

// acceptKey is the metadata field in which a caller says which encoding it
// takes on a stream where it may send nothing itself.
const acceptKey = "accept"

func (s *serverStream) Recv(v any) error {
	body, err := s.sock.Recv()
	if err != nil {
		return s.fail(err)
	}
	defer body.Release()
	s.mu.Lock()
	s.ctype = body.ContentType
	s.mu.Unlock()
	c, err := s.table.Find(body.ContentType, v)
	if err == nil {
		err = c.Unmarshal(body.Data, v)
	}
	if err != nil {
		return s.fail(errors.NewCode(serverId, errors.CodeInvalidArgument, "%s: the message is not what the endpoint takes: %v", s.req.endpoint, err))
	}
	return nil
}
