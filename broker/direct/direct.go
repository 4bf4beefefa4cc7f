// Package direct is the broker that needs no broker process: a publisher sends
// each message straight to the nodes that subscribe.
//
// A node that subscribes is registered under [ServiceName], one record a topic
// and queue, never under the topic itself, which may be the name of a service.
// One watch of that name feeds every Publish. One copy of a message travels to
// a node, over the port its server has anyway, and the node hands it to its
// subscribers.
//
// # Promise
//
// At most once. What no node could take is lost, and what a node has taken and
// then loses with its own life is lost too; nothing is sent a second time when
// it may have arrived. A node that surely did not take its copy is replaced by
// another member of the queue. There is no order. Handlers run concurrently,
// up to 64 at a time for each subscription.
//
// A subscription holds at most 1024 waiting messages and 64 MiB of bodies,
// waiting and being handled. When it is full Deliver waits, for one second at
// most, and then refuses, so that the publisher can turn to another member of
// the queue.
//
// Unsubscribe and Disconnect wait for handlers. Called in a handler of the
// subscription concerned they wait for themselves until their context ends.
package direct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
)

const (
	// ServiceName is the name under which subscribing nodes are registered.
	ServiceName = "micro.http.broker"
	// BroadcastVersion is the version of the record of subscribers without a
	// queue; the version of others is their queue.
	BroadcastVersion = "ff.http.broadcast"
	// DeliverEndpoint is the name of the call by which a Sender brings a
	// delivery to a node: metadata of Delivery.Header, the body as it is.
	DeliverEndpoint = "Broker.Deliver"
	// Kind is the value of the metadata key "broker" of records that this
	// package understands. Records of another kind are not sent to.
	Kind = "direct"

	// DefaultRegisterTTL is how long a record holds without being renewed.
	DefaultRegisterTTL = 90 * time.Second
	// DefaultRegisterInterval is how often records are renewed.
	DefaultRegisterInterval = 30 * time.Second
)

const (
	ioTimeout = 5 * time.Second // one Send, one request to the registry, the wait for the first sync
	maxSends  = 16              // copies of one message on their way at the same time
)

// Sender carries a delivery to the port of a node, where [Broker.Deliver] is
// called with it. Its methods may run concurrently.
type Sender interface {
	// Send returns nil when the node has taken d. An error that matches
	// errors.ErrRefused of this module or transport.ErrUnreachable says that
	// the node surely did not take it, and another node may be tried. Send
	// keeps within ctx, does not change d and does not keep it.
	Send(ctx context.Context, node *registry.Node, d *Delivery) error
}

// Config is what New needs. Registry and Sender must be given.
type Config struct {
	// Registry is where subscribing nodes are found and registered.
	Registry registry.Registry
	// Sender carries a delivery to a node's own port.
	Sender Sender
	// RegisterTTL is how long a record holds in registries that know TTLs,
	// RegisterInterval how often it is renewed, give or take a tenth. Zero is
	// the default.
	RegisterTTL, RegisterInterval time.Duration
	// Logger takes what went wrong; nil is slog.Default().
	Logger *slog.Logger
}

// Broker is the direct broker of one node or one client.
type Broker struct {
	cfg   Config
	local *fanout
	log   *slog.Logger
	stats counters
	lost  gate // keeps the log of lost copies short

	life chan struct{} // held by Connect and Disconnect

	mu   sync.Mutex
	addr string
	sess *session // nil when not connected
}

var _ broker.Broker = (*Broker)(nil)

// session is what lives from Connect to Disconnect.
type session struct {
	ctx     context.Context // ends with Disconnect
	cancel  context.CancelFunc
	loops   sync.WaitGroup
	addr    string
	routes  *routes
	records *records
	avoid   avoided
	closing bool // guarded by Broker.mu: no new subscriptions
}

// Stats counts what the broker has done since New.
type Stats struct {
	// Sent counts copies that another node took, Unreached those that none
	// took.
	Sent, Unreached uint64
	// Accepted counts messages taken for a subscription of this broker,
	// Dropped those of them that no handler got because a wait was cut short,
	// and copies that a full subscription without a queue did not take.
	Accepted, Dropped uint64
	// Failed counts handlers that returned an error, Panicked those that
	// panicked.
	Failed, Panicked uint64
}

type counters struct {
	sent, unreached, accepted, dropped, failed, panicked atomic.Uint64
}

// New returns a broker that is not connected.
func New(cfg Config) (*Broker, error) {
	switch {
	case cfg.Registry == nil:
		return nil, errors.New("direct: Config.Registry is nil: a registry is where subscribers are found")
	case cfg.Sender == nil:
		return nil, errors.New("direct: Config.Sender is nil: a sender carries messages to other nodes")
	case cfg.RegisterTTL < 0 || cfg.RegisterInterval < 0:
		return nil, fmt.Errorf("direct: RegisterTTL %v and RegisterInterval %v must not be negative", cfg.RegisterTTL, cfg.RegisterInterval)
	}
	if cfg.RegisterTTL == 0 {
		cfg.RegisterTTL = DefaultRegisterTTL
	}
	if cfg.RegisterInterval == 0 {
		cfg.RegisterInterval = min(DefaultRegisterInterval, cfg.RegisterTTL/3)
	}
	if cfg.RegisterInterval >= cfg.RegisterTTL {
		return nil, fmt.Errorf("direct: RegisterInterval %v must be shorter than RegisterTTL %v, or records lapse between renewals", cfg.RegisterInterval, cfg.RegisterTTL)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b := &Broker{cfg: cfg, log: cfg.Logger, life: make(chan struct{}, 1)}
	b.local = newFanout(b.log, &b.stats)
	return b, nil
}

// Advertise says at which host:port deliveries reach this broker. The server
// calls it before Connect; a broker that is connected takes it over with the
// next Connect. A broker that only publishes needs no address.
func (b *Broker) Advertise(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addr = addr
}

// Stats returns the counts so far.
func (b *Broker) Stats() Stats {
	c := &b.stats
	return Stats{Sent: c.sent.Load(), Unreached: c.unreached.Load(), Accepted: c.accepted.Load(),
		Dropped: c.dropped.Load(), Failed: c.failed.Load(), Panicked: c.panicked.Load()}
}

// Connect begins to watch the registry and registers the subscriptions made
// so far.
//
// It may return an error and be connected nevertheless: one that matches
// broker.ErrUnavailable when the registry could not be written, which goes on
// being tried; or one that matches registry.ErrReadOnly when it never will be,
// and only publishers in this process reach the subscriptions. It is not
// connected when ctx ended while another Connect or Disconnect ran, or when
// there are subscriptions and no address was advertised.
func (b *Broker) Connect(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return fmt.Errorf("direct: connect: %w", err)
	}
	defer b.leave()

	b.mu.Lock()
	old := b.sess
	if old != nil && (old.addr == b.addr || b.addr == "") {
		b.mu.Unlock()
		return nil
	}
	subs := b.local.live()
	if b.addr == "" && len(subs) > 0 {
		b.mu.Unlock()
		return fmt.Errorf("direct: connect with %d subscriptions: %w", len(subs), errNoAddress)
	}
	s := &session{addr: b.addr}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.routes = newRoutes(b.cfg.Registry, s.addr, b.log)
	s.records = newRecords(b.cfg, s.addr)
	for _, sub := range subs {
		sub.record = s.records.acquire(sub.topic, sub.opts.Queue)
	}
	b.sess = s
	b.local.open()
	b.mu.Unlock()

	s.loops.Go(func() { s.routes.run(s.ctx) })
	s.loops.Go(func() { s.records.run(s.ctx) })
	if old != nil { // it had another address, or none and only published
		old.records.leaveAll()
		if err := old.records.settleAll(ctx); err != nil {
			b.log.Warn("records of the former address stay until they lapse", "address", old.addr, "error", err)
		}
		old.cancel()
		old.loops.Wait()
	}
	if err := s.records.settleAll(ctx); err != nil {
		return fmt.Errorf("direct: connect: %w", err)
	}
	return nil
}

// Disconnect takes this node's records out of the registry, then takes no more
// deliveries, and waits until what was accepted has been handled. Handlers may
// publish until then. When ctx ends first, what still waits is dropped, the
// context of handlers that run ends, and Disconnect returns the error of ctx
// without waiting for them.
func (b *Broker) Disconnect(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return fmt.Errorf("direct: disconnect: %w", err)
	}
	defer b.leave()

	b.mu.Lock()
	s := b.sess
	if s != nil {
		s.closing = true
	}
	subs := b.local.all()
	b.mu.Unlock()

	var errs []error
	if s != nil {
		s.records.leaveAll()
		errs = append(errs, s.records.settleAll(ctx))
	}
	b.local.close()
	errs = append(errs, waitAll(ctx, subs))
	if s != nil {
		b.mu.Lock()
		b.sess = nil
		b.mu.Unlock()
		s.cancel()
		s.loops.Wait()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("direct: disconnect: %w", err)
	}
	return nil
}

// Subscribe calls h for each message of topic that a publisher sends to this
// node. While connected it registers at once; a registry that is away goes on
// being tried, one that is read-only is an error that matches
// registry.ErrReadOnly, and nothing is subscribed.
func (b *Broker) Subscribe(ctx context.Context, topic string, h broker.Handler, opts ...broker.SubscribeOption) (broker.Subscriber, error) {
	o := broker.NewSubscribeOptions(opts...)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("direct: subscribe to %q: %w", topic, err)
	}
	if err := checkName("topic", topic); err != nil {
		return nil, fmt.Errorf("direct: subscribe: %w", err)
	}
	if o.Queue != "" {
		if err := checkName("queue", o.Queue); err != nil {
			return nil, fmt.Errorf("direct: subscribe to %q: %w", topic, err)
		}
	}
	if h == nil {
		return nil, fmt.Errorf("direct: subscribe to %q: the handler is nil", topic)
	}

	b.mu.Lock()
	s := b.sess
	if s != nil && (s.closing || s.addr == "") {
		b.mu.Unlock()
		err := errNoAddress
		if s.closing {
			err = broker.ErrNotConnected
		}
		return nil, fmt.Errorf("direct: subscribe to %q: %w", topic, err)
	}
	sub := newSubscription(b, topic, h, o)
	b.local.add(sub)
	if s != nil {
		sub.record = s.records.acquire(topic, o.Queue)
	}
	b.mu.Unlock()
	if s == nil {
		return sub, nil
	}

	err := s.records.settle(ctx, sub.record)
	if err == nil {
		return sub, nil
	}
	if errors.Is(err, registry.ErrReadOnly) || ctx.Err() != nil {
		sub.Unsubscribe(ctx) // its error would only repeat this one
		return nil, fmt.Errorf("direct: subscribe to %q: %w", topic, err)
	}
	b.log.WarnContext(ctx, "direct: subscribed, but not registered yet; will be tried again", "topic", topic, "queue", o.Queue, "error", err)
	return sub, nil
}

var errNoAddress = errors.New("no address was advertised: subscribers are reached at the port of a server, which calls Advertise before Connect")

func (b *Broker) enter(ctx context.Context) error {
	select {
	case b.life <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.life <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Broker) leave() { <-b.life }
