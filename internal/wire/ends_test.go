package wire

import (
	"context"
	stderrors "errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/transport"
)

// canned returns a caller over a pipe whose other end is spoken by hand.
func canned(t testing.TB, cfg Config) (*Caller, *peer) {
	t.Helper()
	near, far := net.Pipe()
	p := newPeer(t, far)
	made := make(chan *Caller, 1)
	go func() {
		c, err := NewCaller(context.Background(), near, cfg)
		if err != nil {
			t.Errorf("NewCaller: %v", err)
		}
		made <- c
	}()
	p.greet2()
	c := <-made
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	return c, p
}

// greet2 greets a caller, which waits for the greeting while it sends its own.
func (p *peer) greet2() {
	p.t.Helper()
	p.greeted()
	p.bytes(greeting())
}

func TestLostConnectionEndsStreams(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	c := callerOf(t, l, Config{})
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Recv()
		ended <- err
	}()
	if err := within(t, ended); !stderrors.Is(err, transport.ErrLost) {
		t.Errorf("Recv: %v, want ErrLost", err)
	}
	within(t, closed)
	go func() { closed <- c.Close() }()
	within(t, closed)
}

func TestClosingTheCallerEndsItsStreams(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, nil, nil)
	c := callerOf(t, l, Config{})
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	within(t, closed)
	if _, err := s.Recv(); !stderrors.Is(err, transport.ErrClosed) {
		t.Errorf("Recv: %v, want ErrClosed", err)
	}
}

// slowValue is encoded only when it is let.
type slowValue struct{ begun, go_ chan struct{} }

type slowCodec struct{}

func (slowCodec) Name() string { return "application/octet-stream" }
func (slowCodec) Append(dst []byte, v any) ([]byte, error) {
	s := v.(slowValue)
	close(s.begun)
	<-s.go_
	return append(dst, "late"...), nil
}
func (slowCodec) Unmarshal([]byte, any) error { return nil }

func TestShutdownWaitsForRepliesThatAreBeingEncoded(t *testing.T) {
	leaktest.Check(t)
	v := slowValue{make(chan struct{}), make(chan struct{})}
	l := listenTCP(t, Config{}, unaries{"Slow": func(context.Context, transport.Body) (transport.Message, error) {
		return transport.Message{Value: v, Codec: slowCodec{}}, nil
	}}, nil)
	c := callerOf(t, l, Config{})
	got := make(chan error, 1)
	go func() {
		rsp, err := c.Call(context.Background(), ask("Slow", nil))
		if err == nil && string(rsp.Body.Data) != "late" {
			err = stderrors.New("another reply")
		}
		got <- err
	}()
	within(t, v.begun)
	down := make(chan error, 1)
	go func() { down <- l.Shutdown(context.Background()) }()
	eventually(t, "the GOAWAY", func() bool { return c.Err() != nil })
	select {
	case err := <-down:
		t.Errorf("Shutdown returned %v before the reply was sent", err)
	case <-time.After(50 * time.Millisecond): // long enough for it to be wrong
	}
	close(v.go_)
	if err := within(t, got); err != nil {
		t.Errorf("the call: %v", err)
	}
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestControlFramesBehindALargeFrameDoNotEndTheConnection(t *testing.T) {
	leaktest.Check(t)
	c, p := canned(t, Config{})
	// The peer reads slowly: a large request is under way, another waits.
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 3)
	for range 2 {
		go func() {
			rsp, err := c.Call(ctx, ask("Large", make([]byte, 3<<20)))
			if err == nil {
				rsp.Body.Release()
			}
			results <- err
		}()
	}
	eventually(t, "both requests", func() bool {
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		return c.w.pend.size >= 3<<20
	})
	cancel()
	for range 2 {
		if err := within(t, results); !stderrors.Is(err, context.Canceled) {
			t.Errorf("a cancelled call: %v", err)
		}
	}
	if err := c.Err(); err != nil {
		t.Fatalf("the connection has ended: %v", err)
	}
	go func() {
		for {
			h, _, err := p.next()
			if err != nil {
				return
			}
			if h.typ == typeReq && h.length < 1<<20 {
				if _, err := p.conn.Write(appendFrame(nil, header{typ: typeRsp, codec: 3, call: h.call}, "ok")); err != nil {
					return
				}
			}
		}
	}()
	rsp, err := c.Call(context.Background(), ask("Small", nil))
	if err != nil || string(rsp.Body.Data) != "ok" {
		t.Fatalf("afterwards: %q, %v", rsp.Body.Data, err)
	}
	rsp.Body.Release()
}

func TestLargeMessagesNobodyTakesAreBounded(t *testing.T) {
	leaktest.Check(t)
	const message = 1 << 20
	begun, go_ := make(chan struct{}), make(chan struct{})
	l := listenTCP(t, Config{}, nil, func(s transport.Socket) {
		close(begun)
		<-go_
		for {
			body, err := s.Recv()
			if err != nil {
				_ = s.Finish(nil, nil)
				return
			}
			body.Release()
		}
	})
	c := callerOf(t, l, Config{})
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	within(t, begun)
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := s.Send(raw(make([]byte, message))); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- s.CloseSend()
	}()
	// One message and a window's worth of the next; the window given back for
	// the first must not let a third through.
	eventually(t, "a first message", func() bool { return sent.Load() >= 1 })
	select {
	case <-done:
		t.Errorf("20 messages of %d bytes were sent to a receiver that takes none", message)
	case <-time.After(200 * time.Millisecond): // long enough for it to be wrong
	}
	if n := sent.Load(); n > 2 {
		t.Errorf("%d messages of %d bytes were sent to a receiver that takes none", n, message)
	}
	close(go_)
	if err := within(t, done); err != nil {
		t.Error(err)
	}
}

func TestResetEndsASendThatWaits(t *testing.T) {
	leaktest.Check(t)
	result := make(chan error, 2)
	l := listenTCP(t, Config{}, nil, func(s transport.Socket) {
		sending := make(chan struct{})
		go func() {
			close(sending)
			for {
				if err := s.Send(raw(make([]byte, 10_000))); err != nil {
					result <- err
					return
				}
			}
		}()
		go func() {
			_, err := s.Recv()
			result <- err
		}()
		<-sending
		st := s.(*stream)
		eventually(t, "the sender waits", func() bool {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.credit <= 0
		})
		s.Reset()
		if s.Context().Err() == nil {
			t.Error("after Reset the context has not ended")
		}
		for range 2 {
			if err := within(t, result); err == nil {
				t.Error("Send and Recv returned no error after Reset")
			}
		}
	})
	c := callerOf(t, l, Config{})
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { return s.Context().Err() != nil })
}

func TestHeaderWithoutMeasureEndsItsOwnStreamOnly(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary, "Meta": func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		setReply(ctx, 70<<10)
		return raw(nil), nil
	}}, func(s transport.Socket) {
		setReply(s.Context(), 70<<10)
		err := s.Send(raw([]byte("m")))
		if err == nil {
			t.Error("Send with a header over the limit returned no error")
		}
		_ = s.Finish(nil, err)
	})
	c := callerOf(t, l, Config{})
	s, err := c.Open(context.Background(), ask("Stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "metadata") {
		t.Errorf("Recv: %v", err)
	}
	if _, err := c.Call(context.Background(), ask("Meta", nil)); err == nil || !strings.Contains(err.Error(), "metadata") {
		t.Errorf("Call: %v", err)
	}
	mustEcho(t, c, "alive")
}

func TestOpenGivenUpBeforeItIsSentLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := canned(t, Config{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		results := make(chan error, 10)
		calls := 0
		for ; !c.w.full.Load(); calls++ { // the peer does not read: some are being written, the last waits and fills what may
			go func() {
				_, err := c.Call(ctx, ask("Large", make([]byte, 3<<20)))
				results <- err
			}()
			synctest.Wait()
		}
		opening, giveUp := context.WithCancel(context.Background())
		opened := make(chan error, 1)
		go func() {
			_, err := c.Open(opening, ask("Stream", nil))
			opened <- err
		}()
		synctest.Wait()
		if c.live != calls+1 {
			t.Fatalf("%d calls are under way, want %d and the stream", c.live, calls)
		}
		giveUp()
		if err := within(t, opened); !stderrors.Is(err, context.Canceled) {
			t.Errorf("Open: %v", err)
		}
		cancel()
		for range calls {
			within(t, results)
		}
		synctest.Wait()
		if c.live != 0 || len(c.free) != len(c.slots) {
			t.Errorf("%d calls are under way and %d of %d slots are free", c.live, len(c.free), len(c.slots))
		}
		done := make(chan struct{})
		go func() { // what the peer sees: no frame of a stream
			defer close(done)
			for {
				h, _, err := p.next()
				if err != nil {
					return
				}
				if h.typ == typeOpen {
					t.Error("the OPEN was sent after the stream was given up")
				}
			}
		}()
		synctest.Wait()
		c.Close()
		<-done
	})
}

func TestShutdownWaitsForAHandlerWhoseCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall()
		finished := false
		l := listen(t, h, Config{}, unaries{"Slow": func(context.Context, transport.Body) (transport.Message, error) {
			<-time.After(10 * time.Second)
			finished = true
			return raw(nil), nil
		}}, nil)
		c, err := NewCaller(context.Background(), h.dial(t), Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := c.Call(ctx, ask("Slow", nil)); !stderrors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Call: %v", err)
		}
		c.Close()
		synctest.Wait()
		if err := l.Shutdown(context.Background()); err != nil || !finished {
			t.Errorf("Shutdown returned %v; the handler has finished: %v", err, finished)
		}
	})
}

func TestAPeerThatDiesWhileItDrainsIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := canned(t, Config{KeepAlive: time.Second})
		result := make(chan error, 1)
		go func() {
			_, err := c.Call(context.Background(), transport.Request{Method: transport.Method{Endpoint: "X"}, Message: raw(nil)})
			result <- err
		}()
		go func() { // reads and says nothing more
			for {
				if _, _, err := p.next(); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		p.send(header{typ: typeGoAway, aux: goAwayDrain}, "stopping")
		began := time.Now()
		if err := <-result; !stderrors.Is(err, transport.ErrLost) {
			t.Errorf("the call ended with %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAConnectionWithoutNamesLeftIsGivenUpAndEachNewNameIsCheap(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	c := callerOf(t, l, Config{})
	for i := range maxNames {
		_, _ = c.Call(context.Background(), ask("Unknown."+strconv.Itoa(i), nil)) // answered with an error
	}
	_, err := c.Call(context.Background(), ask("Echo", nil))
	if !stderrors.Is(err, errors.ErrRefused) || c.Err() == nil {
		t.Errorf("the call after the last name: %v; the connection: %v", err, c.Err())
	}
}

func TestMethodsKeepTheirNumbersHoweverManyThereAre(t *testing.T) {
	var m methods
	for i := range 1000 {
		m.add(transport.Method{Endpoint: strconv.Itoa(i)}, uint32(i+1))
		if m.count() != i+1 {
			t.Fatalf("%d methods are counted after %d", m.count(), i+1)
		}
	}
	for i := range 1000 {
		method := transport.Method{Endpoint: strconv.Itoa(i)}
		n, ok := m.get(method)
		if !ok {
			n = m.fresh[method]
		}
		if n != uint32(i+1) {
			t.Fatalf("method %d has number %d", i, n)
		}
	}
	for range 1000 {
		m.used()
	}
	if len(m.fresh) != 0 {
		t.Errorf("%d methods that are used stay behind the lock", len(m.fresh))
	}
}

func TestWhatStreamsHoldUnreadIsBoundedForTheConnection(t *testing.T) {
	leaktest.Check(t)
	ended := make(chan error, 100)
	l := listenTCP(t, Config{MaxMessage: 100_000, MaxHeld: 250_000}, nil, func(s transport.Socket) {
		<-time.After(200 * time.Millisecond) // nothing is taken while all arrives
		for {
			body, err := s.Recv()
			if err != nil {
				ended <- err
				_ = s.Finish(nil, err)
				return
			}
			body.Release()
		}
	})
	c := callerOf(t, l, Config{})
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			s, err := c.Open(context.Background(), ask("Stream", nil))
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.Send(raw(make([]byte, 100_000))) // Recv says how it ended
			_ = s.CloseSend()                      // likewise
			_, _ = s.Recv()                        // likewise
		})
	}
	group.Wait()
	exhausted := 0
	for range 10 {
		if errors.From("", <-ended).GRPCCode() == errors.CodeResourceExhausted {
			exhausted++
		}
	}
	if exhausted < 1 || exhausted > 9 {
		t.Errorf("%d of 10 streams of 100,000 bytes were ended, with room for 250,000", exhausted)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for sc := range l.conns {
		if n := sc.inboxes.Load(); n != 0 {
			t.Errorf("%d bytes are counted as held after all streams have ended", n)
		}
	}
}

func TestDrainOfAConnectionThatHasNotGreetedSendsNoFrame(t *testing.T) {
	leaktest.Check(t)
	h := newHall()
	l := listen(t, h, Config{}, nil, nil)
	conn := h.dial(t)
	defer conn.Close()
	eventually(t, "the connection", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.conns) == 1
	})
	down := make(chan error, 1)
	go func() { down <- l.Shutdown(context.Background()) }()
	conn.SetReadDeadline(time.Now().Add(wait))
	if n, err := conn.Read(make([]byte, 100)); n > 0 {
		t.Errorf("%d bytes came before the greeting, %v", n, err)
	}
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// setReply sets a reply header of n bytes.
func setReply(ctx context.Context, n int) {
	_ = metadata.SetHeader(ctx, "x-large", strings.Repeat("x", n)) // inside a call it cannot fail
}
