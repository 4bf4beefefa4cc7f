package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/client"
)

func (t *tool) streamCommand() *command {
	return &command{
		name: "stream", group: groupUse, args: "SERVICE ENDPOINT [JSON...]", min: 2, max: -1,
		summary: "open a stream, send messages, print what comes",
		about: `
Sends each JSON argument as a message, or each line of stdin when there is no
argument, and says that there are no more. Each message that comes is a line of
JSON on stdout. Ctrl-C ends the stream.`,
		examples: []string{
			`micro stream clock Clock.Watch '{"every":"1s"}'`,
			`micro stream chat Chat.Join '{"room":"go"}' '{"text":"hello"}'`,
			"micro stream chat Chat.Join < messages.jsonl",
		},
		flags: append(callFlags(), &timeFlag{Name: "timeout", Value: defaultTimeout, Usage: "how long to wait for the opening"}),
		run:   t.stream,
	}
}

// messageHint says what a message of a stream is.
const messageHint = `each message is JSON, such as '{"name":"Ada"}'`

func (t *tool) stream(ctx context.Context, c *cli.Command) error {
	if err := wantsBody(c); err != nil {
		return err
	}
	ctx, err := withMetadata(ctx, c)
	if err != nil {
		return err
	}
	messages := c.Args().Slice()[2:]
	bodies := make([]json.RawMessage, len(messages))
	for i, m := range messages {
		b, err := t.readArgument(m)
		if err != nil {
			return err
		}
		if bodies[i], err = checkJSON(m, b, messageHint); err != nil {
			return err
		}
	}
	return t.with(c, func(p *parts) error {
		x, err := p.streamTarget(ctx, c)
		if err != nil {
			return err
		}
		began := time.Now()
		opts := append(x.opts, client.WithRequestTimeout(c.Duration("timeout")), dialTime(c))
		s, err := p.client.Stream(ctx, p.client.NewRequest(x.service, x.endpoint, nil, client.StreamingRequest(), client.WithContentType(x.form.contentType())), opts...)
		if err != nil {
			return callFailure(x.service, x.endpoint, err)
		}
		n, err := t.converse(ctx, s, x.form, bodies)
		if ctx.Err() != nil { // Ctrl-C is how a stream without an end is ended
			return nil
		}
		if _, local := errors.AsType[*failure](err); local {
			return err
		}
		if err != nil {
			return callFailure(x.service, x.endpoint, err)
		}
		if terminal(t.stderr) {
			fmt.Fprintf(t.stderr, "%s %s  %s\n", t.green("ok"), short(time.Since(began)), plural(n, "message"))
		}
		return nil
	})
}

// streamTarget finds the endpoint of a stream.
func (p *parts) streamTarget(ctx context.Context, c *cli.Command) (*target, error) {
	ctx, cancel := within(ctx, c)
	defer cancel()
	x, err := p.target(ctx, c)
	if err == nil && x.record != nil && !x.isStream() {
		return nil, usage("use: micro call "+x.service+" "+x.endpoint, "%s is no stream", x.endpoint)
	}
	return x, err
}

// converse sends the messages, or the lines of stdin, while it prints what
// comes. It returns how many messages came.
//
// A read of stdin cannot be broken off: when the stream ends first, the
// goroutine that reads is left to end with the process.
func (t *tool) converse(ctx context.Context, s client.Stream, f form, bodies []json.RawMessage) (int, error) {
	defer s.Close()
	sent := make(chan error, 1)
	go func() { sent <- t.sendAll(s, f, bodies) }()
	type received struct {
		n   int
		err error
	}
	got := make(chan received, 1)
	go func() {
		n, err := t.receiveAll(s, f)
		got <- received{n, err}
	}()
	for {
		select {
		case err := <-sent:
			if err != nil && s.Context().Err() == nil && err != io.EOF { // else the stream has ended, and Recv says how
				return 0, err
			}
			sent = nil
		case r := <-got:
			return r.n, r.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (t *tool) sendAll(s client.Stream, f form, bodies []json.RawMessage) error {
	for _, b := range bodies {
		if err := f.send(s, b); err != nil {
			return err
		}
	}
	if len(bodies) == 0 {
		lines := bufio.NewScanner(t.stdin)
		lines.Buffer(nil, maxInput)
		for lines.Scan() {
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			b, err := checkJSON(string(line), line, messageHint)
			if err != nil {
				return err
			}
			if err := f.send(s, b); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return &failure{exit: exitFailure, what: fmt.Sprintf("read stdin: %v", err)}
		}
	}
	if c, ok := s.(client.CloseSender); ok {
		return c.CloseSend()
	}
	return nil
}

func (t *tool) receiveAll(s client.Stream, f form) (int, error) {
	for n := 0; ; n++ {
		m := f.response()
		err := s.Recv(m)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		text, err := f.text(m)
		if err != nil {
			return n, err
		}
		if err := writeLine(t.stdout, text); err != nil {
			return n, &failure{exit: exitFailure, what: fmt.Sprintf("write to stdout: %v", err)}
		}
	}
}
