// Package registry is the contract of service discovery: who registers a node
// and how others find it and hear of changes.
//
// The packages beside this one are backends; registrytest checks that a
// backend keeps this contract.
package registry

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that the registry answered and knows no such service.
	ErrNotFound = errors.New("service not found")
	// ErrUnavailable says that the registry could not be asked.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrWatcherStopped is what Next returns after Stop, or after the context
	// of Watch has ended.
	ErrWatcherStopped = errors.New("watcher stopped")
	// ErrReadOnly says that nothing can be registered with this backend.
	ErrReadOnly = errors.New("registry is read-only")
)

// Registry finds services. All methods may run concurrently. What a registry
// returns is shared by all callers and must not be changed; what it is given
// it copies or encodes before it returns.
//
// Errors wrap ErrNotFound or ErrUnavailable where one of them is the cause,
// and the context's error when the context ended first.
type Registry interface {
	// Register adds the nodes of s. A node that is known already, by service
	// name and node id, is replaced: its address, its metadata, and the
	// version, metadata and endpoints of its service.
	Register(ctx context.Context, s *Service, opts ...RegisterOption) error
	// Deregister removes the nodes of s, by service name and node id. A node
	// that is not there is no error.
	Deregister(ctx context.Context, s *Service) error
	// GetService returns the service under that name, one Service a version,
	// each with at least one node, or ErrNotFound.
	GetService(ctx context.Context, name string) ([]*Service, error)
	// ListServices returns all services, one Service a name and version, with
	// their nodes where the backend knows them at no extra cost. No services
	// is an empty list and no error.
	ListServices(ctx context.Context) ([]*Service, error)
	// Watch returns a watcher of all services, or of one with WatchService.
	// The watcher lives until Stop or until ctx ends.
	Watch(ctx context.Context, opts ...WatchOption) (Watcher, error)
}

// Remote is a power of registries whose nodes may be on other machines. A
// service that registers with one is asked to be reached from there: it
// listens on all addresses, and gives callers time to hear that it leaves. A
// Registry without it, or that answers false, holds nodes of this machine.
type Remote interface {
	Remote() bool
}

// Watcher delivers changes. It first delivers the present state as results
// with Action "create", then one result with Action "sync" and no Service,
// then changes as they happen. After an outage of the backend it delivers one
// result with Action "lost" and no Service, and then does the same again: what
// is not named between the lost and the sync is gone.
type Watcher interface {
	// Next blocks for the next result. It returns no error for an outage that
	// can heal; after Stop it returns ErrWatcherStopped. One goroutine at a
	// time may call it.
	Next() (*Result, error)
	// Stop ends the watcher and a Next that waits. It may be called more than
	// once and from any goroutine.
	Stop()
}

// The actions of a Result.
const (
	// Create tells of a node that is there, now or newly.
	Create = "create"
	// Update tells of a node whose record has changed.
	Update = "update"
	// Delete tells of a node that has gone.
	Delete = "delete"
	// Sync ends the present state: what has not been named since the watch
	// began, or since the last Lost, does not exist.
	Sync = "sync"
	// Lost says that changes may have been missed, and that the present state
	// follows anew.
	Lost = "lost"
)

// Result is one change. Its Service holds the nodes the change is about and
// no others; it is nil for Sync and Lost. Results are shared and must not be changed.
type Result struct {
	Action  string
	Service *Service
}

// Service is a service of one version with some or all of its nodes.
type Service struct {
	Name      string            `json:"name"`
	Version   string            `json:"version"`
	Metadata  map[string]string `json:"metadata"`
	Endpoints []*Endpoint       `json:"endpoints"`
	Nodes     []*Node           `json:"nodes"`
}

// Node is one running instance of a service.
type Node struct {
	// Id is unique among the nodes of its service.
	Id string `json:"id"`
	// Address is host:port.
	Address  string            `json:"address"`
	Metadata map[string]string `json:"metadata"`
}

// Endpoint is something a service answers, such as "Greeter.Hello".
type Endpoint struct {
	Name     string            `json:"name"`
	Request  *Value            `json:"request"`
	Response *Value            `json:"response"`
	Metadata map[string]string `json:"metadata"`
}

// Value describes a type: its name, its kind, and its fields.
type Value struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Values []*Value `json:"values"`
}

// RegisterOptions are the options of Register.
type RegisterOptions struct {
	// TTL is how long the registration holds without being renewed. Zero is
	// for ever. Backends that see a process die by other means may ignore it.
	TTL time.Duration
}

// RegisterOption sets a RegisterOptions.
type RegisterOption func(*RegisterOptions)

// RegisterTTL sets how long a registration holds.
func RegisterTTL(t time.Duration) RegisterOption {
	return func(o *RegisterOptions) { o.TTL = t }
}

// NewRegisterOptions applies opts to the zero RegisterOptions.
func NewRegisterOptions(opts ...RegisterOption) RegisterOptions {
	var o RegisterOptions
	for _, f := range opts {
		f(&o)
	}
	return o
}

// WatchOptions are the options of Watch.
type WatchOptions struct {
	// Service is the name to watch; empty is all.
	Service string
}

// WatchOption sets a WatchOptions.
type WatchOption func(*WatchOptions)

// WatchService restricts a watch to one service name.
func WatchService(name string) WatchOption {
	return func(o *WatchOptions) { o.Service = name }
}

// NewWatchOptions applies opts to the zero WatchOptions.
func NewWatchOptions(opts ...WatchOption) WatchOptions {
	var o WatchOptions
	for _, f := range opts {
		f(&o)
	}
	return o
}
