package client

import (
	"context"
	"io"
	"iter"

	"github.com/seed-9a4e2794/micro/errors"
)

// RecvStream is the receiving side of a typed stream. One goroutine at a time
// may use it. It has to be read to its end, or closed, or its context ended.
type RecvStream[T any] struct{ s Stream }

// Recv returns the next message, io.EOF when the server has ended the stream
// well.
func (s RecvStream[T]) Recv() (*T, error) {
	m := new(T)
	if err := s.s.Recv(m); err != nil {
		return nil, err
	}
	return m, nil
}

// All yields the messages until the server ends the stream. An error is
// yielded once, last, with a nil message. An error, and leaving the loop early,
// close the stream.
func (s RecvStream[T]) All() iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for {
			m, err := s.Recv()
			if err == io.EOF {
				return
			}
			if err != nil {
				_ = s.Close() // a message that is not understood does not end the stream
				yield(nil, err)
				return
			}
			if !yield(m, nil) {
				_ = s.Close() // the loop was left; nobody waits for more
				return
			}
		}
	}
}

// Context is the context of the call. It ends with the stream.
func (s RecvStream[T]) Context() context.Context { return s.s.Context() }

// Close gives the stream up.
func (s RecvStream[T]) Close() error { return s.s.Close() }

// SendStream is a typed stream of messages that is answered with one. One
// goroutine at a time may use it.
type SendStream[Req, Rsp any] struct{ s Stream }

// Send sends a message. It waits while the server takes no more. It returns
// io.EOF when the server has ended the stream: CloseAndRecv says how.
func (s SendStream[Req, Rsp]) Send(m *Req) error { return s.s.Send(m) }

// CloseAndRecv says that all has been sent, and returns the answer. The stream
// is over then, also when it returns an error.
func (s SendStream[Req, Rsp]) CloseAndRecv() (*Rsp, error) {
	if err := closeSend(s.s); err != nil && err != io.EOF {
		_ = s.s.Close() // the error of closeSend says more
		return nil, err
	}
	rsp := new(Rsp)
	if err := s.s.Recv(rsp); err != nil {
		if err == io.EOF {
			r := s.s.Request()
			return nil, errors.NewCode(clientId, errors.CodeInternal, "%s %s: the server ended the stream without an answer", r.Service(), r.Endpoint())
		}
		_ = s.s.Close() // a message that is not understood does not end the stream
		return nil, err
	}
	// The end follows at once: it lets go of the call.
	if err := s.s.Recv(new(Rsp)); err != io.EOF {
		_ = s.s.Close() // the answer is there; what else comes is not wanted
	}
	return rsp, nil
}

// Close gives the stream up.
func (s SendStream[Req, Rsp]) Close() error { return s.s.Close() }

// BidiStream is a typed stream both ways. One goroutine may send while another
// receives.
type BidiStream[Req, Rsp any] struct{ RecvStream[Rsp] }

// Send sends a message. It waits while the server takes no more. It returns
// io.EOF when the server has ended the stream: Recv says how.
func (s BidiStream[Req, Rsp]) Send(m *Req) error { return s.s.Send(m) }

// CloseSend says that all has been sent.
func (s BidiStream[Req, Rsp]) CloseSend() error { return closeSend(s.s) }

func closeSend(s Stream) error {
	if c, ok := s.(CloseSender); ok {
		return c.CloseSend()
	}
	r := s.Request()
	return errors.NewCode(clientId, errors.CodeUnimplemented, "%s %s: a %T cannot say that all has been sent: make it a client.CloseSender", r.Service(), r.Endpoint(), s)
}

// OpenServerStream sends one request and returns the stream of answers.
func OpenServerStream[Rsp, Req any](ctx context.Context, c Client, service, endpoint string, req *Req, opts ...CallOption) (RecvStream[Rsp], error) {
	s, err := c.Stream(ctx, c.NewRequest(service, endpoint, req, StreamingRequest()), opts...)
	if err != nil {
		return RecvStream[Rsp]{}, err
	}
	if err := s.Send(req); err != nil && err != io.EOF {
		_ = s.Close() // the error of Send says more
		return RecvStream[Rsp]{}, err
	}
	if err := closeSend(s); err != nil && err != io.EOF {
		_ = s.Close() // likewise
		return RecvStream[Rsp]{}, err
	}
	return RecvStream[Rsp]{s}, nil
}

// OpenClientStream opens a stream of requests that is answered with one
// message.
func OpenClientStream[Req, Rsp any](ctx context.Context, c Client, service, endpoint string, opts ...CallOption) (SendStream[Req, Rsp], error) {
	s, err := c.Stream(ctx, c.NewRequest(service, endpoint, new(Req), StreamingRequest()), opts...)
	return SendStream[Req, Rsp]{s}, err
}

// OpenBidiStream opens a stream with any number of messages each way.
func OpenBidiStream[Req, Rsp any](ctx context.Context, c Client, service, endpoint string, opts ...CallOption) (BidiStream[Req, Rsp], error) {
	s, err := c.Stream(ctx, c.NewRequest(service, endpoint, new(Req), StreamingRequest()), opts...)
	return BidiStream[Req, Rsp]{RecvStream[Rsp]{s}}, err
}
