package direct

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/metadata"
)

// The header fields of a delivery as it travels. The body of the call is the
// body of the message, unchanged.
//
// Topics, queues and the message's own header are percent-encoded: every byte
// outside '!' to '~', and '%' and '=', is written %XX. A message's header is
// not put among the fields as it is: its keys would lose their case, could be
// equal to fields of the transport, and could hold what HTTP does not allow.
const (
	// HeaderTopic holds the topic, once.
	HeaderTopic = "micro-event"
	// HeaderQueue holds a queue the node was chosen for, once for each.
	HeaderQueue = "micro-queue"
	// HeaderBroadcast is "1" when subscribers without a queue are meant.
	HeaderBroadcast = "micro-broadcast"
	// HeaderMessage holds key=value, once for each field of the message.
	HeaderMessage = "micro-header"
)

// Limits of a delivery, before encoding. Publish refuses what is beyond them.
const (
	// MaxName is the longest topic or queue, in bytes.
	MaxName = 255
	// MaxQueues is how many queues one delivery may name.
	MaxQueues = 128
	// MaxHeaderFields and MaxHeaderBytes bound the header of a message: its
	// fields, and the bytes of all keys and values.
	MaxHeaderFields = 128
	MaxHeaderBytes  = 32 << 10
)

// ErrMalformed is wrapped by the errors of ParseDelivery.
var ErrMalformed = errors.New("malformed delivery")

// Delivery is one copy of a message on its way to one node, which hands it to
// its subscribers.
type Delivery struct {
	Topic string
	// Queues are the queues this node was chosen for, each once: one
	// subscriber of each gets the message.
	Queues []string
	// Broadcast says that every subscriber without a queue gets it as well.
	Broadcast bool
	Message   *broker.Message
}

// Header returns the fields that carry d, all but the body. It fails when d is
// beyond the limits.
func (d *Delivery) Header() (metadata.Header, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	h := make(metadata.Header, 0, 2+len(d.Queues)+len(d.Message.Header))
	h = append(h, metadata.Field{Key: HeaderTopic, Value: escape(d.Topic)})
	for _, q := range d.Queues {
		h = append(h, metadata.Field{Key: HeaderQueue, Value: escape(q)})
	}
	if d.Broadcast {
		h = append(h, metadata.Field{Key: HeaderBroadcast, Value: "1"})
	}
	for k, v := range d.Message.Header {
		h = append(h, metadata.Field{Key: HeaderMessage, Value: escape(k) + "=" + escape(v)})
	}
	return h, nil
}

// ParseDelivery is the reverse of Header. Fields it does not know belong to
// the transport and are passed over. The body becomes the message's body and
// is not copied. The error matches ErrMalformed.
func ParseDelivery(h metadata.Header, body []byte) (*Delivery, error) {
	d := &Delivery{Message: &broker.Message{Body: body}}
	topics, size := 0, 0
	for _, f := range h {
		switch strings.ToLower(f.Key) {
		case HeaderTopic:
			t, err := unescape(f.Value, MaxName)
			if err != nil {
				return nil, fmt.Errorf("%w: field %s: %w", ErrMalformed, HeaderTopic, err)
			}
			d.Topic = t
			topics++
		case HeaderQueue:
			q, err := unescape(f.Value, MaxName)
			if err != nil {
				return nil, fmt.Errorf("%w: field %s: %w", ErrMalformed, HeaderQueue, err)
			}
			if len(d.Queues) == MaxQueues {
				return nil, fmt.Errorf("%w: more than %d queues", ErrMalformed, MaxQueues)
			}
			d.Queues = append(d.Queues, q)
		case HeaderBroadcast:
			if f.Value != "1" {
				return nil, fmt.Errorf("%w: field %s is %.20q, want 1 or no such field", ErrMalformed, HeaderBroadcast, f.Value)
			}
			d.Broadcast = true
		case HeaderMessage:
			if len(d.Message.Header) == MaxHeaderFields {
				return nil, fmt.Errorf("%w: more than %d fields in the message's header", ErrMalformed, MaxHeaderFields)
			}
			n, err := d.parseField(f.Value, MaxHeaderBytes-size)
			if err != nil {
				return nil, fmt.Errorf("%w: field %s: %w", ErrMalformed, HeaderMessage, err)
			}
			size += n
		}
	}
	if topics != 1 {
		return nil, fmt.Errorf("%w: %d fields %s, want one", ErrMalformed, topics, HeaderTopic)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return d, nil
}

// parseField adds one key=value to the message's header and returns how many
// bytes it holds, at most room.
func (d *Delivery) parseField(s string, room int) (int, error) {
	ek, ev, ok := strings.Cut(s, "=")
	if !ok {
		return 0, fmt.Errorf("%.20q has no =", s)
	}
	k, err := unescape(ek, room)
	if err != nil {
		return 0, err
	}
	v, err := unescape(ev, room-len(k))
	if err != nil {
		return 0, err
	}
	if _, dup := d.Message.Header[k]; dup {
		return 0, fmt.Errorf("key %.20q stands twice", k)
	}
	if d.Message.Header == nil {
		d.Message.Header = make(map[string]string)
	}
	d.Message.Header[k] = v
	return len(k) + len(v), nil
}

// check holds d against the limits.
func (d *Delivery) check() error {
	if err := checkName("topic", d.Topic); err != nil {
		return err
	}
	if len(d.Queues) == 0 && !d.Broadcast {
		return errors.New("neither a queue nor broadcast: the delivery is for nobody")
	}
	if len(d.Queues) > MaxQueues {
		return fmt.Errorf("%d queues, at most %d are allowed", len(d.Queues), MaxQueues)
	}
	for i, q := range d.Queues {
		if err := checkName("queue", q); err != nil {
			return err
		}
		if slices.Contains(d.Queues[:i], q) {
			return fmt.Errorf("queue %.20q stands twice", q)
		}
	}
	return checkMessage(d.Message)
}

func checkMessage(m *broker.Message) error {
	if m == nil {
		return errors.New("the message is nil")
	}
	if len(m.Header) > MaxHeaderFields {
		return fmt.Errorf("the message's header has %d fields, at most %d are allowed", len(m.Header), MaxHeaderFields)
	}
	size := 0
	for k, v := range m.Header {
		size += len(k) + len(v)
	}
	if size > MaxHeaderBytes {
		return fmt.Errorf("the message's header has %d bytes, at most %d are allowed", size, MaxHeaderBytes)
	}
	return nil
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s is empty", what)
	case len(name) > MaxName:
		return fmt.Errorf("the %s %.20q... has %d bytes, at most %d are allowed", what, name, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("the %s %.20q is not UTF-8", what, name)
	case what == "queue" && name == BroadcastVersion:
		return fmt.Errorf("the queue may not be called %q, which marks subscribers without one", name)
	}
	return nil
}

const hexDigits = "0123456789ABCDEF"

func plain(c byte) bool { return '!' <= c && c <= '~' && c != '%' && c != '=' }

func escape(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}

// unescape is the reverse of escape for what has at most limit bytes when
// decoded. It takes no second spelling of the same bytes.
func unescape(s string, limit int) (string, error) {
	if len(s) > 3*limit {
		return "", fmt.Errorf("%d bytes encoded, at most %d are allowed decoded", len(s), limit)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain(c) {
			b = append(b, c)
			continue
		}
		if c != '%' || i+2 >= len(s) {
			return "", fmt.Errorf("byte %#x at %d must be percent-encoded", c, i)
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
			return "", fmt.Errorf("%q at %d is not the encoding of a byte that needs one", s[i:i+3], i)
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	if len(b) > limit {
		return "", fmt.Errorf("%d bytes decoded, at most %d are allowed", len(b), limit)
	}
	return string(b), nil
}
