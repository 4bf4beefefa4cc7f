package examples_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/broker/direct"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/server"
)

// topic is the name of a service too.
const topic = "go.micro.srv.broker"

// The test's program is also a node and a publisher: roleEnv says which, nameEnv
// what the node's service is called, subscribeEnv how it subscribes: not at all
// when it is empty, "broadcast", or the name of a queue; countEnv how many
// events and calls there are.
const (
	roleEnv      = "EXAMPLES_TEST_ROLE"
	nameEnv      = "EXAMPLES_TEST_NAME"
	subscribeEnv = "EXAMPLES_TEST_SUBSCRIBE"
	countEnv     = "EXAMPLES_TEST_COUNT"
)

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleEnv); role {
	case "":
		os.Exit(m.Run())
	case "node":
		err = runNode(os.Getenv(nameEnv), os.Getenv(subscribeEnv))
	case "publisher":
		err = publishAndCall()
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type numbered struct {
	N int `json:"n"`
}

// runNode runs a service that prints every event and call.
func runNode(name, subscribe string) error {
	service := micro.NewService(micro.Name(name), micro.Args(nil))
	err := micro.Handle(service, "Node.Call", func(_ context.Context, req *numbered) (*numbered, error) {
		fmt.Println("call", req.N)
		return req, nil
	})
	if err != nil {
		return err
	}
	if subscribe != "" {
		var opts []server.SubscriberOption
		if subscribe != "broadcast" {
			opts = append(opts, server.SubscriberQueue(subscribe))
		}
		err := micro.Subscribe(service, topic, func(_ context.Context, e *numbered) error {
			fmt.Println("event", e.N)
			return nil
		}, opts...)
		if err != nil {
			return err
		}
	}
	return service.Run()
}

// publishAndCall publishes to the topic, and calls the service of that name.
func publishAndCall() error {
	count, err := strconv.Atoi(os.Getenv(countEnv))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := micro.NewService(micro.Name("publisher"), micro.Args(nil)).Client()
	for i := range count {
		if err := micro.Publish(ctx, c, topic, &numbered{i}, client.RequireSubscriber()); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		if _, err := micro.Call[numbered](ctx, c, topic, "Node.Call", &numbered{i}); err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
	}
	return nil
}

func TestEventsOfAnotherProcessReachEachNodeAndOneMemberOfEachQueue(t *testing.T) {
	const count = 200
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []struct {
		name, subscribe string
		*process
	}{
		{topic, "broadcast", nil},
		{topic, "", nil}, // of the topic's name, and not a subscriber
		{"other", "broadcast", nil},
		{"mail", "mailers", nil},
		{"mail", "mailers", nil},
		{"mail", "mailers", nil},
		{"bill", "billers", nil},
		{"bill", "billers", nil},
	}
	for i := range nodes {
		n := &nodes[i]
		n.process = w.start(self, roleEnv+"=node", nameEnv+"="+n.name, subscribeEnv+"="+n.subscribe)
	}
	w.awaitNodes(topic, 2)
	w.awaitNodes("other", 1)
	w.awaitNodes("mail", 3)
	w.awaitNodes("bill", 2)
	w.awaitNodes(direct.ServiceName, 7)
	began := time.Now()
	w.start(self, roleEnv+"=publisher", fmt.Sprintf("%s=%d", countEnv, count)).ends()
	took := time.Since(began)

	calls, queues := make(map[string]int), make(map[string]map[string]int)
	for i, n := range nodes {
		n.stops() // what a node has taken it finishes
		events := make(map[string]int)
		for _, line := range n.printed() {
			switch what, number, _ := strings.Cut(line, " "); what {
			case "event":
				events[number]++
			case "call":
				calls[n.name]++
			}
		}
		t.Logf("node %d, service %s, subscribed %q: %d events", i, n.name, n.subscribe, len(events))
		switch n.subscribe {
		case "":
			if len(events) != 0 {
				t.Errorf("node %d does not subscribe and received %d events", i, len(events))
			}
		case "broadcast":
			each(t, fmt.Sprint("node ", i), events, count)
		default:
			if len(events) == 0 {
				t.Errorf("node %d, a member of the queue %s, received nothing", i, n.subscribe)
			}
			if queues[n.subscribe] == nil {
				queues[n.subscribe] = make(map[string]int)
			}
			for number, times := range events {
				queues[n.subscribe][number] += times
			}
		}
	}
	for queue, events := range queues {
		each(t, "the queue "+queue, events, count)
	}
	if len(queues) != 2 {
		t.Errorf("there were the queues %v, want two", queues)
	}
	if len(calls) != 1 || calls[topic] != count {
		t.Errorf("calls were answered by %v, want %d by %s", calls, count, topic)
	}
	t.Logf("%d events and %d calls in %v, process start included", count, count, took.Round(time.Millisecond))
}

// each checks that events 0 to count-1 came once each.
func each(t *testing.T, who string, events map[string]int, count int) {
	t.Helper()
	for i := range count {
		if n := events[strconv.Itoa(i)]; n != 1 {
			t.Errorf("%s received event %d %d times, want once", who, i, n)
			return
		}
	}
	if len(events) != count {
		t.Errorf("%s received %d different events, want %d", who, len(events), count)
	}
}
