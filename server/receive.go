package server

import (
	"context"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/codec/bytes"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
)

// receiver is a broker whose events arrive on the service's own port, as calls
// of direct.DeliverEndpoint.
type receiver interface {
	broker.Broker
	// Advertise tells the broker the address of that port.
	Advertise(addr string)
	// Deliver takes what has arrived.
	Deliver(ctx context.Context, d *direct.Delivery) error
}

// receive answers direct.DeliverEndpoint for a broker.
func (s *server) receive(r receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.also[direct.ServiceName] = true
	s.routes[direct.DeliverEndpoint] = &route{endpoint: &endpoint{
		name: direct.DeliverEndpoint, internal: true, bare: true,
		newReq: func() any { return new(bytes.Frame) },
		newRsp: func() any { return new(bytes.Frame) },
		invoke: func(ctx context.Context, req, rsp any) (any, error) {
			h, _ := metadata.HeaderFromContext(ctx)
			d, err := direct.ParseDelivery(h, req.(*bytes.Frame).Data)
			if err != nil {
				return nil, errors.Wrap(serverId, errors.CodeInvalidArgument, err)
			}
			return rsp, r.Deliver(ctx, d)
		},
	}}
}
