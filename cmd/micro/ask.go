package main

import (
	"context"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/registry"
)

// answer is what one node said. Err is why it said nothing.
type answer[T any] struct {
	node    *registry.Node
	version string
	value   T
	took    time.Duration
	err     error
}

// maxAsking is how many nodes are asked at a time.
const maxAsking = 32

// ask calls an endpoint at each node of a service itself. The answers are in
// the order of the nodes.
func ask[T any](ctx context.Context, p *parts, versions []*registry.Service, endpoint string) []answer[T] {
	var answers []answer[T]
	for _, s := range versions {
		for _, n := range s.Nodes {
			answers = append(answers, answer[T]{node: n, version: s.Version})
		}
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, maxAsking)
	for i := range answers {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			a := &answers[i]
			began := time.Now()
			req := p.client.NewRequest(versions[0].Name, endpoint, struct{}{}, client.WithContentType(codec.JSON))
			a.err = p.client.Call(ctx, req, &a.value, client.WithAddress(a.node.Address), client.WithRetries(0), asNode(a.node))
			a.took = time.Since(began)
		})
	}
	group.Wait()
	return answers
}

// asNode makes a call to an address as the node's record says: by its protocol,
// and with TLS where it takes nothing else.
func asNode(n *registry.Node) client.CallOption {
	return client.WithCallWrapper(func(next client.CallFunc) client.CallFunc {
		return func(ctx context.Context, _ *registry.Node, req client.Request, rsp any, opts client.CallOptions) error {
			return next(ctx, n, req, rsp, opts)
		}
	})
}
