package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/broker"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	registrymemory "github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport/tcp"
)

func TestPublishedEventsCarryTheirHeadersAndLeaveTheCallersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		got := make(chan *broker.Message, 10)
		must(t, w.broker.Connect(t.Context()))
		for _, topic := range []string{"t", "other"} {
			_, err := w.broker.Subscribe(t.Context(), topic, func(_ context.Context, e broker.Event) error { got <- e.Message(); return nil })
			must(t, err)
		}
		defer w.broker.Disconnect(t.Context())
		c := w.client(t, client.From("caller"))
		md := metadata.Metadata{"X-User": "42", "Content-Type": "text/before", "Micro-Topic": "before"}
		kept := maps.Clone(md)
		ctx := metadata.NewContext(t.Context(), md)
		ids := make(map[string]bool)
		for _, k := range []struct {
			msg         any
			opts        []client.MessageOption
			popts       []client.PublishOption
			ctype, body string
			topic       string
		}{
			{&Ask{"Ada"}, nil, nil, "application/json", `{"name":"Ada"}`, "t"},
			{wrapperspb.String("Ada"), nil, nil, "application/protobuf", "\x0a\x03Ada", "t"},
			{wrapperspb.String("Ada"), []client.MessageOption{client.WithMessageContentType("application/json")}, nil, "application/json", `"Ada"`, "t"},
			{[]byte("Ada"), nil, nil, "application/octet-stream", "Ada", "t"},
			{&Ask{"Ada"}, nil, []client.PublishOption{client.WithExchange("other")}, "application/json", `{"name":"Ada"}`, "other"},
		} {
			must(t, c.Publish(ctx, c.NewMessage("t", k.msg, k.opts...), k.popts...))
			m := <-got
			ids[m.Header["Micro-Id"]] = true
			if m.Header["Content-Type"] != k.ctype || string(m.Body) != k.body || m.Header["Micro-Topic"] != k.topic ||
				m.Header["X-User"] != "42" || m.Header["Micro-From-Service"] != "caller" || len(m.Header) != 5 {
				t.Errorf("%T came as %v with %q", k.msg, m.Header, m.Body)
			}
		}
		if len(ids) != 5 || ids[""] {
			t.Errorf("the ids are %v", ids)
		}
		if !maps.Equal(md, kept) {
			t.Errorf("the caller's metadata was changed to %v", md)
		}
		err := c.Publish(ctx, c.NewMessage("nobody", &Ask{}), client.RequireSubscriber())
		if !errors.Is(err, broker.ErrNoSubscriber) {
			t.Errorf("got %v", err)
		}
		want(t, err, "publish to nobody")
		must(t, c.Publish(ctx, c.NewMessage("nobody", &Ask{})))
		want(t, c.Publish(ctx, c.NewMessage("t", &Ask{}, client.WithMessageContentType("text/odd"))), "400", "text/odd")
	})
}

// slowBroker takes its time to connect.
type slowBroker struct {
	*brokermemory.Broker
	connects atomic.Int64
}

func (b *slowBroker) Connect(ctx context.Context) error {
	b.connects.Add(1)
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.Broker.Connect(ctx)
}

func TestPublishersWaitForOneConnectingEachWithinItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := &slowBroker{Broker: w.broker}
		c := w.client(t, client.Broker(b))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		began := time.Now()
		group.Go(func() {
			err := c.Publish(short, c.NewMessage("t", &Ask{}))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
		synctest.Wait()
		for range 10 {
			group.Go(func() { must(t, c.Publish(t.Context(), c.NewMessage("t", &Ask{}))) })
		}
		synctest.Wait()
		c.NewMessage("t", nil) // nothing else waits for it
		c.Options()
		if time.Since(began) != 0 {
			t.Error("other methods wait")
		}
		group.Wait()
		if d, n := time.Since(began), b.connects.Load(); d != 4*time.Second || n != 2 {
			t.Errorf("it took %v and %d times", d, n)
		}
		must(t, b.Disconnect(t.Context()))
	})
}

func TestNewClientAloneWorksOnTheLocalRegistry(t *testing.T) {
	leaktest.Check(t)
	dir := filepath.Join(t.TempDir(), "run")
	must(t, os.Mkdir(dir, 0o700))
	t.Setenv("MICRO_RUNTIME_DIR", dir)
	s := server.NewServer(server.Name("greeter"), server.Logger(newWorld().log))
	var n atomic.Int64
	must(t, s.Handle(answering(&n, well)))
	must(t, s.Start())
	c := client.NewClient()
	if got, err := ask(t.Context(), c, "Greeter.Hello", "Ada"); err != nil || got != "Hello Ada" {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, c.Publish(t.Context(), c.NewMessage("t", &Ask{})))
	must(t, c.(io.Closer).Close())
	must(t, s.Stop())
}

// TestKilledNodeIsNotNoticedByCallers runs over sockets: three nodes under
// load, of which one after the other loses its listener and its connections
// without a word, as in a crash.
func TestKilledNodeIsNotNoticedByCallers(t *testing.T) {
	leaktest.Check(t)
	w := newWorld()
	r := registrymemory.New()
	var nodes []server.Server
	for i := range 3 {
		s := server.NewServer(server.Name("greeter"), server.Id(fmt.Sprint(i)), server.Registry(r), server.Logger(w.log),
			server.Transport(tcp.New(tcp.Config{Logger: w.log})))
		var count atomic.Int64
		must(t, s.Handle(answering(&count, well)))
		must(t, s.Start())
		nodes = append(nodes, s)
		defer s.Stop()
	}
	sel := selector.New(selector.Config{Registry: r, Logger: w.log})
	defer sel.Close()
	tr := &cutting{Transport: tcp.New(tcp.Config{Logger: w.log}), dead: make(map[string]bool)}
	c := client.NewClient(client.Registry(r), client.Selector(sel), client.Transport(tr), client.Logger(w.log))
	defer c.(io.Closer).Close()
	stop := make(chan struct{})
	var calls, lost, other atomic.Int64
	var failed atomic.Pointer[string]
	var group sync.WaitGroup
	const callers = 16
	for range callers {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := ask(context.Background(), c, "Greeter.Hello", "Ada")
				calls.Add(1)
				switch {
				case err == nil:
				case isLost(err):
					lost.Add(1)
				default:
					other.Add(1)
					text := err.Error()
					failed.Store(&text)
				}
			}
		})
	}
	wait := func(more int64) {
		for until := calls.Load() + more; calls.Load() < until; {
			<-time.After(time.Millisecond)
		}
	}
	wait(2000)
	for _, s := range nodes[:2] {
		tr.kill(s.Options().Address)
		wait(3000)
	}
	close(stop)
	group.Wait()
	t.Logf("%d calls, %d under way on a node that died", calls.Load(), lost.Load())
	if n := other.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, such as: %s", n, calls.Load(), *failed.Load())
	}
	if lost.Load() > 2*callers {
		t.Errorf("%d calls were lost, more than were under way", lost.Load())
	}
}
