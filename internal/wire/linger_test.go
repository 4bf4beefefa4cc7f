package wire

import (
	"context"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
)

// A call that was sent before the GOAWAY had arrived surely was not executed,
// and its caller hears so: were the connection closed as soon as nothing is
// under way, the caller could not know.
func TestCallsThatCrossTheGoAwayOfAnIdleConnectionAreRefused(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	p := dialPeer(t, l)
	p.name(1, "Echo")
	p.send(header{typ: typeReq, codec: 3, aux: 1, call: 0}, "first")
	if h, _ := p.response(0); h.flags&flagRefused != 0 {
		t.Fatal("the first call was refused")
	}
	down := make(chan error, 1)
	began := time.Now()
	go func() { down <- l.Shutdown(context.Background()) }()
	for h, _ := p.frame(); h.typ != typeGoAway; h, _ = p.frame() {
	}
	for i := range uint32(10) {
		id := (i + 1) << 16
		p.send(header{typ: typeReq, codec: 3, aux: 1, call: id}, "crossing")
		if h, _ := p.response(id); h.flags&flagRefused == 0 {
			t.Fatalf("call %d: %+v, want REFUSED", i, h)
		}
	}
	p.conn.Close()
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(began); took >= lingerTime {
		t.Errorf("Shutdown took %v though the caller had closed", took)
	}
}

// A caller that does not close holds the shutdown up for a moment only.
func TestShutdownDoesNotWaitLongForCallersThatStay(t *testing.T) {
	leaktest.Check(t)
	l := listenTCP(t, Config{}, unaries{"Echo": echoUnary}, nil)
	dialPeer(t, l)
	down := make(chan error, 1)
	go func() { down <- l.Shutdown(context.Background()) }()
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
