// Package selector finds the nodes of a service and picks one for a call.
//
// [Watching] is the selector that clients use. It keeps one watch a service
// and never asks the registry on the path of a call. [Strategy] and [Filter]
// have the shapes they have in go-micro v1.
package selector

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-9a4e2794/micro/registry"
)

var (
	// ErrNotFound says that the registry answered and knows no node of the
	// service. It matches registry.ErrNotFound.
	ErrNotFound = fmt.Errorf("selector: %w", registry.ErrNotFound)
	// ErrNoneAvailable says that the service has nodes and none of them passed
	// the filters.
	ErrNoneAvailable = errors.New("selector: none available")
	// ErrClosed says that the selector has been closed.
	ErrClosed = errors.New("selector: closed")
)

// Selector finds nodes. All methods may run concurrently.
type Selector interface {
	// Select returns a function that picks a node of the service each time it
	// is called. Errors match ErrNotFound, ErrNoneAvailable or
	// registry.ErrUnavailable, and the context's error when ctx ended first.
	Select(ctx context.Context, service string, opts ...SelectOption) (Next, error)
	// Mark says how a call to a node from Select ended: nil is well. A node
	// that is not known, or no longer, is ignored.
	Mark(service string, node *registry.Node, err error)
	// Close ends the watches and waits for them. It may be called more than
	// once; afterwards Select returns ErrClosed.
	Close() error
}

// Picker is the power of a Selector to pick one node for one attempt without
// allocating.
type Picker interface {
	// Pick picks a node of the service. avoid, which may be nil, is the node
	// of the attempt before; it is passed over while another is in order. The
	// errors are those of Select. The context matters only until the first
	// answer of the registry about this service.
	Pick(ctx context.Context, service string, avoid *registry.Node) (Choice, error)
}

// Next returns a node, ErrNoneAvailable, or an error of the strategy. The node
// is shared and must not be changed. Those of this package may be called by
// several goroutines.
type Next func() (*registry.Node, error)

// Filter returns those services and nodes that may be picked. What it is given
// is shared: it returns new services instead of changing them, and it may
// return its argument.
type Filter func([]*registry.Service) []*registry.Service

// Strategy returns a function that picks among the nodes of the services. What
// it is given is shared and must not be changed. A selector may call it from
// several goroutines, once a selection.
type Strategy func([]*registry.Service) Next

// SelectOptions are the options of Select.
type SelectOptions struct {
	// Filters are applied in order.
	Filters []Filter
	// Strategy picks among what the filters left; nil is the selector's own.
	Strategy Strategy
}

// SelectOption sets a SelectOptions.
type SelectOption func(*SelectOptions)

// WithFilter adds filters.
func WithFilter(fn ...Filter) SelectOption {
	return func(o *SelectOptions) { o.Filters = append(o.Filters, fn...) }
}

// WithStrategy sets the strategy. For round robin across calls make one with
// NewRoundRobin and pass the same one each time.
func WithStrategy(fn Strategy) SelectOption {
	return func(o *SelectOptions) { o.Strategy = fn }
}

// NewSelectOptions applies opts to the zero SelectOptions.
func NewSelectOptions(opts ...SelectOption) SelectOptions {
	var o SelectOptions
	for _, f := range opts {
		f(&o)
	}
	return o
}
