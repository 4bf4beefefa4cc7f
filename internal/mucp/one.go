package mucp

import (
	"context"
	stderrors "errors"
	"net/http"
	"strconv"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

// ServeOne answers one request whose connection cannot be taken over, as that
// of HTTP/2. A stream is answered with Not Implemented: its messages would be
// other requests. It returns when the call has been answered.
func (s *Server) ServeOne(w http.ResponseWriter, r *http.Request, peer transport.Peer) {
	if peer.Protocol == "" {
		peer.Protocol = Protocol
	}
	q := parseRequest(r)
	q.last, q.old = false, false
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	k := newCall(valueless{ctx}, q, &peer)
	defer k.cancel()
	respond := func(m transport.Message, err error) error {
		a := k.answer(nil, m, err, k.reply.Header(), k.reply.Trailer(), &s.cfg)
		h := w.Header()
		for _, f := range a.fields {
			h[f.key] = append(h[f.key], f.value)
		}
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		if q.head {
			return nil
		}
		_, err = w.Write(a.body)
		return err
	}
	err := s.counted()
	if err != nil {
		_ = respond(transport.Message{}, err) // fails with the connection
		return
	}
	defer s.done()
	var body []byte
	switch {
	case q.stream != "":
		err = errors.NewCode(serverId, errors.CodeUnimplemented, "streams of go-micro's wire need HTTP/1.1, this is %s", r.Proto)
	default:
		body, err = readBody(r.Body, r.ContentLength, s.cfg.MaxMessage, nil)
		switch {
		case stderrors.Is(err, errBody):
			err = errors.New(serverId, err.Error(), http.StatusRequestEntityTooLarge)
		case err != nil:
			err = errors.NewCode(serverId, errors.CodeInvalidArgument, "the request could not be read: %v", err)
		default:
			err = k.open(body)
		}
	}
	if err != nil {
		_ = respond(transport.Message{}, err) // fails with the connection
		return
	}
	s.answer(k, respond)
}

// counted counts a handler in, or returns why none is begun.
func (s *Server) counted() error {
	if err := s.refusing(); err != nil {
		return err
	}
	s.begin()
	return nil
}

// valueless is a context without the values of net/http, which are not part of
// the contract and would be read by handlers nowhere else.
type valueless struct{ context.Context }

func (v valueless) Value(key any) any {
	switch key {
	case http.ServerContextKey, http.LocalAddrContextKey:
		return nil
	}
	return v.Context.Value(key)
}
