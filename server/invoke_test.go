package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"testing"
)

// CastReq and CastRsp are messages.
type CastReq struct {
	N    int
	Text string
	List []int
}

type CastRsp struct {
	Sum  int
	Text *string
	Seen map[string]int
}

// CastTarget has the shapes of handlers that a cast could get wrong.
type CastTarget struct{ base int }

func (c *CastTarget) Plain(_ context.Context, req *CastReq, rsp *CastRsp) error {
	rsp.Sum = c.base + req.N
	return nil
}

// Allocating moves the stack and has the collector run while the arguments are
// in use.
func (c *CastTarget) Allocating(ctx context.Context, req *CastReq, rsp *CastRsp) error {
	rsp.Sum = c.base + deep(200, req.N)
	runtime.GC()
	text := fmt.Sprint(req.Text, ctx.Value(castKey{}))
	rsp.Text = &text
	rsp.Seen = make(map[string]int)
	for i, n := range req.List {
		rsp.Seen[fmt.Sprint(i)] = n
	}
	runtime.GC()
	return nil
}

func (c *CastTarget) Failing(_ context.Context, req *CastReq, _ *CastRsp) error {
	return fmt.Errorf("failed with %d: %w", req.N, errCast)
}

func (c *CastTarget) Builtin(_ context.Context, req *string, rsp *[]byte) error {
	*rsp = append([]byte(*req), byte(c.base))
	return nil
}

type castKey struct{}

var errCast = errors.New("cast")

func deep(n, v int) int {
	var pad [128]int
	pad[n%128] = v
	if n == 0 {
		return v
	}
	return deep(n-1, v) + pad[(n+1)%128]
}

// ValueTarget has its methods on the value.
type ValueTarget struct{ base int }

func (v ValueTarget) Plain(_ context.Context, req *CastReq, rsp *CastRsp) error {
	rsp.Sum = v.base + req.N
	return nil
}

func TestMethodCalledByCastGivesWhatReflectionGives(t *testing.T) {
	ctx := context.WithValue(context.Background(), castKey{}, "in context")
	targets := []any{&CastTarget{base: 7}, ValueTarget{base: 7}, &ValueTarget{base: 9}}
	for _, target := range targets {
		recv := reflect.ValueOf(target)
		for i := range recv.NumMethod() {
			m := recv.Type().Method(i)
			t.Run(fmt.Sprintf("%T.%s", target, m.Name), func(t *testing.T) {
				cast, plain := methodInvoker(recv, m), reflectInvoker(recv, m)
				var group sync.WaitGroup
				for g := range 8 {
					group.Go(func() {
						for k := range 50 {
							req := newArg(m.Type.In(2), g*100+k)
							rsp1, rsp2 := reflect.New(m.Type.In(3).Elem()).Interface(), reflect.New(m.Type.In(3).Elem()).Interface()
							got, err1 := cast(ctx, req, rsp1)
							exp, err2 := plain(ctx, req, rsp2)
							if !reflect.DeepEqual(got, exp) || !reflect.DeepEqual(err1, err2) && fmt.Sprint(err1) != fmt.Sprint(err2) {
								t.Errorf("cast gave %v, %v and reflection %v, %v", got, err1, exp, err2)
								return
							}
							if err1 != nil && !errors.Is(err1, errCast) {
								t.Errorf("got %v", err1)
							}
							if r, ok := got.(*CastRsp); ok && err1 == nil && r.Sum == 0 {
								t.Error("the method was not called")
							}
						}
					})
				}
				group.Wait()
			})
		}
	}
}

func newArg(t reflect.Type, n int) any {
	v := reflect.New(t.Elem()).Interface()
	switch v := v.(type) {
	case *CastReq:
		*v = CastReq{N: n + 1, Text: fmt.Sprint("t", n), List: []int{n, 2, 3}}
	case *string:
		*v = fmt.Sprint("text", n)
	}
	return v
}

func TestWrongTypesFromAWrapperAreAnErrorAndNotACorruption(t *testing.T) {
	recv := reflect.ValueOf(&CastTarget{})
	m, _ := recv.Type().MethodByName("Plain")
	for name, call := range map[string]func(context.Context, any, any) (any, error){
		"cast": methodInvoker(recv, m), "reflection": reflectInvoker(recv, m),
	} {
		for _, args := range [][2]any{{new(int), new(CastRsp)}, {new(CastReq), new(string)}, {nil, new(CastRsp)}, {new(CastReq), nil}, {CastReq{}, new(CastRsp)}} {
			if _, err := call(context.Background(), args[0], args[1]); err == nil {
				t.Errorf("%s: %T and %T were taken", name, args[0], args[1])
			}
		}
	}
}

// Nil has methods that do not use their receiver.
type Nil struct{}

func (*Nil) Hello(context.Context, *CastReq, *CastRsp) error { return nil }

func (*Nil) Event(context.Context, *CastReq) error { return nil }

func TestNilPointerIsAHandlerLikeAnyOther(t *testing.T) {
	h := newStructHandler((*Nil)(nil), slog.New(slog.DiscardHandler))
	if h.err != nil || len(h.endpoints) != 1 || h.endpoints[0].name != "Nil.Hello" {
		t.Fatalf("got %v with %d endpoints", h.err, len(h.endpoints))
	}
	if _, err := h.endpoints[0].invoke(context.Background(), new(CastReq), new(CastRsp)); err != nil {
		t.Error(err)
	}
	// As a subscriber it has a method of another shape, and says so.
	if s := newSubscriber("topic", (*Nil)(nil)); s.err == nil {
		t.Error("the subscriber was taken")
	}
}
