package bytes_test

import (
	"fmt"

	"github.com/seed-9a4e2794/micro/codec/bytes"
)

// A proxy passes bodies on without knowing what they hold.
func Example() {
	c := bytes.NewCodec()

	var f bytes.Frame
	err := c.Unmarshal([]byte("any bytes"), &f)
	fmt.Println(string(f.Data), err)

	body, err := c.Append(nil, &f)
	fmt.Println(string(body), err)
	// Output:
	// any bytes <nil>
	// any bytes <nil>
}
