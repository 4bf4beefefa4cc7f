package mucp

import (
	"testing"

	"github.com/seed-9a4e2794/micro/codec"
)

func BenchmarkCall(b *testing.B) {
	_, addr := serve(b, Config{}, greeter(), nil)
	c := dial(b, addr, Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ask(c, "Echo.Echo", codec.Bytes, "hello"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCallParallel(b *testing.B) {
	_, addr := serve(b, Config{}, greeter(), nil)
	c := dial(b, addr, Config{})
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := ask(c, "Echo.Echo", codec.Bytes, "hello"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
