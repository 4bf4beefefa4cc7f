package plain_test

import (
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/codec/plain"
)

type Greeting struct {
	Name  string `json:"name" protobuf:"1"`
	Times int    `json:"times" protobuf:"2"`
}

func Example() {
	c := plain.NewCodec()

	body, err := c.Append(nil, Greeting{Name: "Ada", Times: 3})
	fmt.Printf("%q %v\n", body, err)

	var in Greeting
	err = c.Unmarshal(body, &in)
	fmt.Println(in, err)

	_, err = c.Append(nil, struct{ Reply any }{"anything"})
	fmt.Println(errors.Is(err, codec.ErrType))
	// Output:
	// "\n\x03Ada\x10\x03" <nil>
	// {Ada 3} <nil>
	// true
}

func ExampleSchema_Describe() {
	s, err := plain.Of(reflect.TypeFor[Greeting]())
	if err != nil {
		fmt.Println(err)
		return
	}
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("greeter.proto"), Package: proto.String("greeter")}
	name, err := s.Describe(file)
	fmt.Println(name, err)
	for _, f := range file.MessageType[0].Field {
		fmt.Println(f.GetNumber(), f.GetName(), f.GetType())
	}
	fmt.Println(s.Tagged(), len(s.Fingerprint()))
	// Output:
	// .greeter.Greeting <nil>
	// 1 name TYPE_STRING
	// 2 times TYPE_INT64
	// true 16
}
