package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/registry"
)

// choose returns the node for an attempt, and whether it must be of the
// service: not when the caller gave the address.
func (c *client) choose(ctx context.Context, p *parts, w *work, avoid *registry.Node, n int) (chosen, bool, error) {
	if len(w.opts.Address) > 0 {
		addr := pickAddress(w.opts.Address, avoid, n)
		return chosen{Choice: selector.Choice{Node: &registry.Node{Id: addr, Address: addr}}}, false, nil
	}
	pick, err := p.pick(ctx, w, avoid)
	if err != nil {
		err = c.available.explain(ctx, p.registry, err)
	}
	return pick, true, err
}

// pickAddress picks one of the addresses that the caller gave, another one
// for each attempt.
func pickAddress(addrs []string, avoid *registry.Node, n int) string {
	if len(addrs) == 1 {
		return addrs[0]
	}
	if avoid != nil {
		for i, a := range addrs {
			if a == avoid.Address {
				return addrs[(i+1)%len(addrs)]
			}
		}
	}
	return addrs[(rand.IntN(len(addrs))+n)%len(addrs)]
}

// chosen is a picked node with whoever wants to know how the attempt ended.
type chosen struct {
	selector.Choice
	marker  selector.Selector // not nil for selectors that only have Mark
	service string
}

func (c *chosen) done(took time.Duration, err error) {
	if c.marker != nil {
		c.marker.Mark(c.service, c.Node, err)
		return
	}
	c.Done(took, err)
}

// tryPicker picks a node if it need not wait.
type tryPicker interface {
	TryPick(service string, avoid *registry.Node) (selector.Choice, bool)
}

// optionPicker picks with options.
type optionPicker interface {
	PickWith(ctx context.Context, service string, avoid *registry.Node, opts ...selector.SelectOption) (selector.Choice, error)
}

// pick picks a node, within the call's time. Only the first pick of a service
// waits, and only that one needs a context with a deadline.
func (p *parts) pick(ctx context.Context, w *work, avoid *registry.Node) (chosen, error) {
	options := len(w.opts.SelectOptions) > 0
	if !options && p.try != nil {
		if c, ok := p.try.TryPick(w.service, avoid); ok {
			return chosen{Choice: c}, nil
		}
	}
	if !w.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.deadline)
		defer cancel()
	}
	if !options && p.picker != nil {
		c, err := p.picker.Pick(ctx, w.service, avoid)
		return chosen{Choice: c}, err
	}
	if options && p.with != nil {
		c, err := p.with.PickWith(ctx, w.service, avoid, w.opts.SelectOptions...)
		return chosen{Choice: c}, err
	}
	next, err := p.selector.Select(ctx, w.service, w.opts.SelectOptions...)
	if err != nil {
		return chosen{}, err
	}
	node, err := next()
	if err == nil && node == nil {
		err = fmt.Errorf("%w: the selector %T returned no node for %s", selector.ErrNoneAvailable, p.selector, w.service)
	}
	return chosen{Choice: selector.Choice{Node: node}, marker: p.selector, service: w.service}, err
}
