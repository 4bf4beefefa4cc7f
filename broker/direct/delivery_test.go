package direct_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/broker"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/metadata"
)

func TestADeliverySurvivesItsHeader(t *testing.T) {
	for _, d := range []*direct.Delivery{
		{Topic: "t", Broadcast: true, Message: &broker.Message{Body: []byte("x")}},
		{Topic: "tópic =%", Queues: []string{"a b", "ü", "q%20"}, Message: &broker.Message{
			Header: map[string]string{"Micro-Topic": "other", "micro-topic": "third", "Connection": "close", "": "", "a=b": "c=d\r\n\x00%"}, Body: []byte{}}},
	} {
		h, err := d.Header()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range h {
			if strings.ContainsAny(f.Value, " \r\n\x00") || f.Key != strings.ToLower(f.Key) {
				t.Errorf("field %q: %q could not travel in an HTTP header", f.Key, f.Value)
			}
		}
		got, err := direct.ParseDelivery(h, d.Message.Body)
		if err != nil {
			t.Fatalf("ParseDelivery(%q): %v", h, err)
		}
		if !reflect.DeepEqual(got, d) {
			t.Errorf("%+v %+v came back as %+v %+v", d, d.Message, got, got.Message)
		}
	}
}

func TestADeliveryBeyondTheLimitsDoesNotLeave(t *testing.T) {
	many := make([]string, direct.MaxQueues+1)
	fields := make(map[string]string)
	for i := range many {
		many[i] = fmt.Sprint(i)
		fields[fmt.Sprint(i)] = ""
	}
	for name, d := range map[string]*direct.Delivery{
		"queues":  {Topic: "t", Queues: many, Message: &broker.Message{}},
		"fields":  {Topic: "t", Broadcast: true, Message: &broker.Message{Header: fields}},
		"bytes":   {Topic: "t", Broadcast: true, Message: &broker.Message{Header: map[string]string{"k": strings.Repeat("x", direct.MaxHeaderBytes)}}},
		"topic":   {Topic: strings.Repeat("x", direct.MaxName+1), Broadcast: true, Message: &broker.Message{}},
		"message": {Topic: "t", Broadcast: true},
		"nobody":  {Topic: "t", Message: &broker.Message{}},
	} {
		if h, err := d.Header(); err == nil {
			t.Errorf("%s: Header() = %d fields, want an error", name, len(h))
		}
	}
}

func TestMalformedDeliveriesAreSaidToBe(t *testing.T) {
	ok := []string{"micro-event: t", "micro-broadcast: 1"}
	for _, lines := range [][]string{
		{},
		{"micro-broadcast: 1"},
		{"micro-event: t"},
		{"micro-event: t", "micro-event: t", "micro-broadcast: 1"},
		{"micro-event: %", "micro-broadcast: 1"},
		{"micro-event: %4", "micro-broadcast: 1"},
		{"micro-event: %41", "micro-broadcast: 1"}, // a second spelling of A
		{"micro-event: %c3%bc", "micro-broadcast: 1"},
		{"micro-event: %FF", "micro-broadcast: 1"},
		{"micro-event: t", "micro-broadcast: yes"},
		{"micro-event: t", "micro-queue: "},
		{"micro-event: t", "micro-queue: q", "micro-queue: q"},
		{"micro-event: t", "micro-queue: " + direct.BroadcastVersion},
		append(ok[:2:2], "micro-header: novalue"),
		append(ok[:2:2], "micro-header: a=b=c"),
		append(ok[:2:2], "micro-header: a=b", "micro-header: a=c"),
		append(ok[:2:2], "micro-header: a="+strings.Repeat("x", direct.MaxHeaderBytes)),
	} {
		if d, err := direct.ParseDelivery(header(lines), nil); !errors.Is(err, direct.ErrMalformed) {
			t.Errorf("ParseDelivery(%.60q) = %+v, %v, want ErrMalformed", lines, d, err)
		}
	}
	if _, err := direct.ParseDelivery(header(append(ok, "micro-other: x", "content-type: y")), nil); err != nil {
		t.Errorf("fields it does not know: %v, want nil", err)
	}
}

func header(lines []string) metadata.Header {
	var h metadata.Header
	for _, l := range lines {
		k, v, _ := strings.Cut(l, ": ")
		h.Add(k, v)
	}
	return h
}

func FuzzParseDelivery(f *testing.F) {
	f.Add("micro-event: t\nmicro-broadcast: 1\nmicro-header: K=v")
	f.Add("Micro-Topic: t%20%C3%BC\nmicro-queue: a\nmicro-queue: b\nmicro-header: =\nx: y")
	f.Add("micro-event: %\nmicro-queue: ")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := direct.ParseDelivery(header(strings.Split(text, "\n")), nil)
		if err != nil {
			if !errors.Is(err, direct.ErrMalformed) || d != nil {
				t.Fatalf("got %+v, %v; want nil and ErrMalformed", d, err)
			}
			return
		}
		h, err := d.Header()
		if err != nil {
			t.Fatalf("what was parsed cannot be sent on: %v", err)
		}
		again, err := direct.ParseDelivery(h, nil)
		if err != nil || again.Topic != d.Topic || again.Broadcast != d.Broadcast || !reflect.DeepEqual(again.Queues, d.Queues) ||
			!maps.Equal(again.Message.Header, d.Message.Header) {
			t.Fatalf("%+v came back as %+v, %v", d, again, err)
		}
	})
}
