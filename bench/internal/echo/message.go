// Package echo holds the message that every peer sends and echoes.
package echo

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

//go:generate go run ../gen

// New returns a message of size bytes when encoded. Sizes too small for its
// fields are an error.
func New(size int) (*Message, error) {
	m := &Message{
		Id:       "ord_01JD8Z4M6Q0V3T7K9W2X5Y8B1C",
		Created:  1763779200123,
		Version:  17,
		Balance:  -123456,
		Trace:    0x8f3a9c5d7e1b2406,
		Shard:    0x5eed,
		Kind:     Kind_KIND_ORDER,
		Paid:     true,
		Shipped:  true,
		Price:    1234.56,
		Rating:   4.5,
		Attempts: 3,
		Customer: "Margarete Schütte-Lihotzky",
		Email:    "margarete@kitchens.example",
		Note:     "Deliver to the back door; the bell does not work, so please knock twice.",
		Digest:   []byte("0123456789abcdef0123456789abcdef"),
		Place: &Place{Street: "Franzensgasse 16", City: "Vienna", Country: "AT",
			Latitude: 48.1966, Longitude: 16.3605},
		Lines: []*Line{
			{Article: "drawer, aluminium", Count: 12, Cents: 1899},
			{Article: "work top, beech, 60 cm", Count: 1, Cents: 24900},
		},
		Tags:    []string{"kitchen", "express", "gift"},
		History: []int64{1763779200, 1763779260, 1763782860, 1763869260},
	}
	// The filler costs its tag and length besides, so come near and step.
	for n := size - proto.Size(m); n > 0; n-- {
		m.Filler = make([]byte, n)
		for i := range m.Filler {
			m.Filler[i] = byte(i)
		}
		if proto.Size(m) == size {
			return m, nil
		}
		if proto.Size(m) < size {
			break
		}
	}
	return nil, fmt.Errorf("no message of %d bytes: without its filler it has %d", size, proto.Size(&Message{})+bare(m))
}

func bare(m *Message) int {
	m.Filler = nil
	return proto.Size(m)
}
