package json_test

import (
	"fmt"

	"github.com/seed-9a4e2794/micro/codec/json"
)

func Example() {
	type Request struct {
		Name string `json:"name"`
	}
	c := json.NewCodec()

	body, err := c.Append(nil, &Request{Name: "Ada"})
	fmt.Println(string(body), err)

	var in Request
	err = c.Unmarshal(body, &in)
	fmt.Println(in.Name, err)
	// Output:
	// {"name":"Ada"} <nil>
	// Ada <nil>
}
