package transporttest

import (
	"context"
	stderrors "errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/transport"
)

func testShutdownWaits(t *testing.T, e *env) {
	begun, go_ := make(chan struct{}), make(chan struct{})
	e.handle("Slow", func(context.Context, transport.Body) (transport.Message, error) {
		close(begun)
		<-go_
		return raw([]byte("done")), nil
	})
	result := make(chan string, 1)
	go func() {
		got, err := e.call(context.Background(), request("Slow", nil))
		result <- fmt.Sprint(got, err)
	}()
	within(t, begun)
	down := make(chan error, 1)
	go func() { down <- e.ln.Shutdown(context.Background()) }()
	for e.conn.Err() == nil { // until the GOAWAY has come
		time.After(time.Millisecond)
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with a call under way", err)
	default:
	}
	close(go_)
	if err := within(t, down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := within(t, result); got != "done<nil>" {
		t.Errorf("the call under way: %s", got)
	}
}

func testShutdownRefuses(t *testing.T, e *env) {
	begun, go_ := make(chan struct{}), make(chan struct{})
	e.handle("Slow", func(context.Context, transport.Body) (transport.Message, error) {
		close(begun)
		<-go_
		return raw(nil), nil
	})
	e.handle("Echo", echo)
	result := make(chan error, 1)
	go func() {
		_, err := e.call(context.Background(), request("Slow", nil))
		result <- err
	}()
	within(t, begun)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- e.ln.Shutdown(ctx) }()
	for {
		_, err := e.call(context.Background(), request("Echo", nil))
		if err == nil {
			continue // Shutdown has not begun
		}
		if !stderrors.Is(err, errors.ErrRefused) {
			t.Errorf("a call after Shutdown: %v", err)
		}
		break
	}
	close(go_)
	if err := within(t, down); err != nil {
		t.Error(err)
	}
	if err := within(t, result); err != nil {
		t.Error(err)
	}
	if _, err := e.tr.Dial(ctx, e.ln.Addr()); !stderrors.Is(err, transport.ErrUnreachable) {
		t.Errorf("dialling afterwards: %v", err)
	}
}

func testClose(t *testing.T, e *env) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e.handle("Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return raw(nil), nil
	})
	result := make(chan error, 1)
	go func() {
		_, err := e.call(context.Background(), request("Wait", nil))
		result <- err
	}()
	within(t, begun)
	if err := e.ln.Close(); err != nil {
		t.Error(err)
	}
	if err := within(t, result); !stderrors.Is(err, transport.ErrLost) || stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("the call under way: %v", err)
	}
	within(t, ended)
}

func testCallerCloses(t *testing.T, e *env) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e.handle("Wait", func(ctx context.Context, _ transport.Body) (transport.Message, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return raw(nil), nil
	})
	result := make(chan error, 1)
	go func() {
		_, err := e.call(context.Background(), request("Wait", nil))
		result <- err
	}()
	within(t, begun)
	e.conn.Close()
	if err := within(t, result); err == nil {
		t.Error("the call ended well")
	}
	if err := within(t, ended); err == nil {
		t.Error("the function's context has no error")
	}
	if e.conn.Err() == nil {
		t.Error("Err is nil after Close")
	}
	if _, err := e.call(context.Background(), request("Wait", nil)); !stderrors.Is(err, errors.ErrRefused) {
		t.Errorf("a call after Close: %v", err)
	}
}

func testDialNothing(t *testing.T, e *env) {
	ln, err := e.tr.Listen(context.Background(), hostOf(e.ln.Addr())+":0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr()
	ln.Close()
	if _, err := e.tr.Dial(context.Background(), addr); !stderrors.Is(err, transport.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func hostOf(addr string) string { return addr[:strings.LastIndexByte(addr, ':')] }

func testAcceptEnds(t *testing.T, e *env) {
	ln, err := e.tr.Listen(context.Background(), hostOf(e.ln.Addr())+":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ln.Accept(func(transport.Socket) {}) }()
	ln.Close()
	if err := within(t, done); err != nil {
		t.Errorf("Accept returned %v", err)
	}
}
