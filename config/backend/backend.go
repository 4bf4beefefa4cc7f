// Package backend lets a program offer backends by name, so that a flag or an
// environment variable chooses among them.
package backend

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/transport"
)

// Backend makes the parts of one vendor or kind. What it does not have is nil.
type Backend struct {
	// Name is what a flag calls it, such as "etcd".
	Name      string
	Registry  func(Config) (registry.Registry, error)
	Broker    func(Config) (broker.Broker, error)
	Transport func(Config) (transport.Transport, error)
}

// Config is what a flag can say of a part.
type Config struct {
	// Addresses are where the vendor's servers are; empty is the vendor's
	// default.
	Addresses []string
	Logger    *slog.Logger
}

// List is the backends of a program.
type List []Backend

// Registry makes the registry of that name.
func (l List) Registry(name string, cfg Config) (registry.Registry, error) {
	for _, b := range l {
		if b.Name == name && b.Registry != nil {
			return b.Registry(cfg)
		}
	}
	return nil, unknown("registry", name, l.names(func(b Backend) bool { return b.Registry != nil }))
}

// Broker makes the broker of that name.
func (l List) Broker(name string, cfg Config) (broker.Broker, error) {
	for _, b := range l {
		if b.Name == name && b.Broker != nil {
			return b.Broker(cfg)
		}
	}
	return nil, unknown("broker", name, append(l.names(func(b Backend) bool { return b.Broker != nil }), "direct"))
}

// Transport makes the transport of that name.
func (l List) Transport(name string, cfg Config) (transport.Transport, error) {
	for _, b := range l {
		if b.Name == name && b.Transport != nil {
			return b.Transport(cfg)
		}
	}
	return nil, unknown("transport", name, l.names(func(b Backend) bool { return b.Transport != nil }))
}

func (l List) names(has func(Backend) bool) []string {
	var names []string
	for _, b := range l {
		if has(b) {
			names = append(names, b.Name)
		}
	}
	return names
}

func unknown(kind, name string, have []string) error {
	slices.Sort(have)
	have = slices.Compact(have)
	return fmt.Errorf("no %s is called %q here (available: %s); backends that are modules of their own are added with micro.Backends", kind, name, strings.Join(have, ", "))
}
