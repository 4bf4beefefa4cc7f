package microtest_test

import (
	"context"
	"testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/microtest"
)

type SumRequest struct {
	Numbers []int `json:"numbers"`
}

type SumResponse struct {
	Total int `json:"total"`
}

type Calc struct{}

func (*Calc) Sum(_ context.Context, req *SumRequest, rsp *SumResponse) error {
	for _, n := range req.Numbers {
		rsp.Total += n
	}
	return nil
}

// A test makes a network, puts services on it, and calls them.
func Example() {
	test := func(t *testing.T) {
		net := microtest.New(t)
		calc := net.NewService(micro.Name("calc"))
		if err := micro.RegisterHandler(calc.Server(), new(Calc)); err != nil {
			t.Fatal(err)
		}
		net.Start(t, calc)

		rsp, err := micro.Call[SumResponse](t.Context(), net.Client(t), "calc", "Calc.Sum", &SumRequest{Numbers: []int{1, 2, 3}})
		if err != nil || rsp.Total != 6 {
			t.Errorf("got %v, %v, want 6", rsp, err)
		}
	}
	_ = test // the go command runs it when it is called TestSum
}

// A program whose main makes its service in a function of its own is tested
// with that function.
func ExampleNet_Options() {
	newCalc := func(opts ...micro.Option) (micro.Service, error) { // the program's, called in its main without options
		s := micro.NewService(append([]micro.Option{micro.Name("calc")}, opts...)...)
		return s, micro.RegisterHandler(s.Server(), new(Calc))
	}
	test := func(t *testing.T) {
		net := microtest.New(t)
		calc, err := newCalc(net.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		net.Start(t, calc)
	}
	_ = test
}
