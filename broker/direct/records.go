package direct

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/registry"
)

// records keeps this node's records in the registry: one a topic and queue
// that has subscribers here.
type records struct {
	reg           registry.Registry
	addr          string
	ttl, interval time.Duration
	log           *slog.Logger
	kick          chan struct{} // a record is not as it should be: try again soon

	mu      sync.Mutex
	all     map[*record]struct{} // those wanted, and those still to be taken out
	current map[routeKey]*record // those wanted
}

type routeKey struct{ topic, queue string }

// record is one entry of the registry.
type record struct {
	owner   *records
	service *registry.Service
	key     routeKey
	refs    int  // subscriptions; guarded by records.mu
	leaving bool // to be taken out; guarded by records.mu

	asking   chan struct{} // held while the registry is asked about this record
	tried    bool          // Register has been called; guarded by asking
	readOnly bool          // the registry said so; guarded by asking
}

func newRecords(cfg Config, addr string) *records {
	return &records{
		reg: cfg.Registry, addr: addr, ttl: cfg.RegisterTTL, interval: cfg.RegisterInterval, log: cfg.Logger,
		kick: make(chan struct{}, 1), all: make(map[*record]struct{}), current: make(map[routeKey]*record),
	}
}

// acquire returns the record of a topic and queue with one reference more. It
// does not ask the registry; settle does.
func (rs *records) acquire(topic, queue string) *record {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	key := routeKey{topic, queue}
	r := rs.current[key]
	if r == nil {
		version := queue
		if queue == "" {
			version = BroadcastVersion
		}
		r = &record{owner: rs, key: key, asking: make(chan struct{}, 1), service: &registry.Service{
			Name:    ServiceName,
			Version: version,
			Nodes: []*registry.Node{{
				Id:       nodeID(topic),
				Address:  rs.addr,
				Metadata: map[string]string{"broker": Kind, "topic": topic, "secure": "false"},
			}},
		}}
		rs.current[key] = r
		rs.all[r] = struct{}{}
	}
	r.refs++
	return r
}

// release gives one reference back and reports whether it was the last: the
// record is to be taken out then, which settle does.
func (rs *records) release(r *record) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r.refs--; r.refs > 0 {
		return false
	}
	if !r.leaving {
		r.leaving = true
		delete(rs.current, r.key)
	}
	return true
}

// leaveAll makes every record one to be taken out.
func (rs *records) leaveAll() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for r := range rs.all {
		r.leaving = true
	}
	clear(rs.current)
}

// settle makes the registry hold r, or hold it no longer. An error that is not
// registry.ErrReadOnly is tried again by run.
func (rs *records) settle(ctx context.Context, r *record) error {
	select {
	case r.asking <- struct{}{}:
	case <-ctx.Done():
		return rs.failed(r, ctx.Err())
	}
	defer func() { <-r.asking }()
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()

	rs.mu.Lock()
	leaving := r.leaving
	_, wanted := rs.all[r]
	rs.mu.Unlock()
	if !wanted {
		return nil // taken out already
	}
	var err error
	switch {
	case !leaving:
		r.tried = true
		err = rs.reg.Register(ctx, r.service, registry.RegisterTTL(rs.ttl))
	case r.tried && !r.readOnly:
		err = rs.reg.Deregister(ctx, r.service)
	}
	if r.readOnly = errors.Is(err, registry.ErrReadOnly); err != nil && !r.readOnly {
		return rs.failed(r, err)
	}
	if leaving {
		rs.mu.Lock()
		delete(rs.all, r)
		rs.mu.Unlock()
		return nil
	}
	if err != nil {
		return fmt.Errorf("topic %q, queue %q: only publishers of this process reach its subscribers: %w", r.key.topic, r.key.queue, err)
	}
	return nil
}

func (rs *records) failed(r *record, err error) error {
	select {
	case rs.kick <- struct{}{}:
	default:
	}
	return fmt.Errorf("%w: record of topic %q, queue %q at %s: %w", broker.ErrUnavailable, r.key.topic, r.key.queue, rs.addr, err)
}

// settleAll settles every record, several at a time, and returns the first
// error.
func (rs *records) settleAll(ctx context.Context) error {
	rs.mu.Lock()
	list := make(chan *record, len(rs.all))
	for r := range rs.all {
		list <- r
	}
	rs.mu.Unlock()
	close(list)
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for range min(len(list), maxSends) {
		wg.Go(func() {
			for r := range list {
				if err := rs.settle(ctx, r); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	return first
}

// run renews the records every interval until ctx ends, and sooner, with a
// delay that doubles, when one of them could not be settled.
func (rs *records) run(ctx context.Context) {
	const firstRetry = time.Second
	retry := time.Duration(0)
	timer := time.NewTimer(jitter(rs.interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rs.kick:
			if retry == 0 {
				retry = min(firstRetry, rs.interval)
				timer.Reset(jitter(retry))
			}
			continue
		case <-timer.C:
		}
		if err := rs.settleAll(ctx); err == nil || errors.Is(err, registry.ErrReadOnly) {
			if retry != 0 {
				rs.log.InfoContext(ctx, "direct: the registry holds the subscriptions again")
			}
			retry = 0
			timer.Reset(jitter(rs.interval))
			continue
		} else if ctx.Err() == nil && retry == 0 {
			rs.log.WarnContext(ctx, "direct: subscriptions cannot be registered; publishers that do not know them yet miss them", "error", err)
		}
		retry = min(max(2*retry, firstRetry), rs.interval)
		timer.Reset(jitter(retry))
	}
}

// jitter returns d give or take a tenth, so that nodes started together do not
// stay together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(mathrand.Int64N(int64(d/5)+1))
}

// nodeID returns a new id that begins with the topic, as far as it has
// characters that every registry takes. It fits a DNS label, which some
// registries put it in.
func nodeID(topic string) string {
	random := strings.ToLower(rand.Text()) // 26 characters, 130 bits
	topic = topic[:min(len(topic), 63-1-len(random))]
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, topic) + "-" + random
}
