package proto_test

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/proto"
)

func Example() {
	c := proto.NewCodec()

	body, err := c.Append(nil, wrapperspb.String("Ada"))
	fmt.Printf("%q %v\n", body, err)

	var in wrapperspb.StringValue
	err = c.Unmarshal(body, &in)
	fmt.Println(in.Value, err)

	_, err = c.Append(nil, struct{ Name string }{"Ada"})
	fmt.Println(errors.Is(err, codec.ErrType))
	// Output:
	// "\n\x03Ada" <nil>
	// Ada <nil>
	// true
}
