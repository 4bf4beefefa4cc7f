package server

import (
	"context"
	stderrors "errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/internal/stats"
	"github.com/seed-9a4e2794/micro/transport"
)

// Authorizer decides who may call an endpoint, such as "Greeter.Hello"; nil
// allows the call. who is what the caller has proven, nil when that is nothing:
// a connection without a client certificate, or one in memory. The context is
// the call's, with its metadata and its peer, and the caller waits meanwhile.
// An Authorizer may run concurrently.
//
// An *errors.Error goes to the caller as it is. Of any other error the caller
// learns only that the call is not allowed, with the code Unauthenticated when
// who is nil and PermissionDenied otherwise; its text goes to the log.
type Authorizer func(ctx context.Context, who *transport.Identity, endpoint string) error

// Authorize has a asked before each call, of which neither the handler nor a
// wrapper sees anything unless it is allowed. It is asked for streams, for a
// Router's calls by the name that the caller gave, for Debug.Health and
// Debug.Stats, for gRPC's reflection as ServerReflection.ServerReflectionInfo, and
// for the deliveries of a broker that come over the service's own port:
// Broker.Deliver. Events that come from elsewhere are not calls, and
// who may publish them is their broker's to say. Nil asks nobody.
func Authorize(a Authorizer) Option {
	return func(o *Options) {
		o.guard = nil
		if a != nil {
			o.guard = &guard{ask: a}
		}
	}
}

// Rule allows an identity to call an endpoint.
//
// A * at the beginning or at the end of either stands for any text, dots and
// slashes included, and alone for everything; elsewhere it stands for itself.
// Upper and lower case differ. An empty field matches nothing.
type Rule struct {
	// Identity is the name of a transport.Identity, such as "orders" or
	// "spiffe://prod/*". "*" is everyone who has proven something, Anyone also
	// those who have not.
	Identity string
	// Endpoint is such as "Greeter.Hello" or "Greeter.*".
	Endpoint string
}

// Anyone as a Rule's Identity matches callers who have proven nothing, too.
const Anyone = "(anyone)"

// Allow returns an Authorizer that allows what any of the rules allows, and
// nothing else. The order of the rules does not matter.
func Allow(rules ...Rule) Authorizer {
	rules = append([]Rule(nil), rules...)
	return func(_ context.Context, who *transport.Identity, endpoint string) error {
		for _, r := range rules {
			if matches(r.Endpoint, endpoint) && (r.Identity == Anyone || who != nil && matches(r.Identity, who.Name)) {
				return nil
			}
		}
		return errNoRule
	}
}

var errNoRule = stderrors.New("no rule allows it")

// matches reports whether a pattern of a Rule matches a name.
func matches(pattern, name string) bool {
	switch {
	case pattern == "":
		return false
	case pattern == "*":
		return true
	case len(pattern) > 1 && pattern[0] == '*' && pattern[len(pattern)-1] == '*':
		return strings.Contains(name, pattern[1:len(pattern)-1])
	case pattern[0] == '*':
		return strings.HasSuffix(name, pattern[1:])
	case pattern[len(pattern)-1] == '*':
		return strings.HasPrefix(name, pattern[:len(pattern)-1])
	}
	return pattern == name
}

// guard is an Authorizer at work.
type guard struct {
	ask Authorizer

	mu     sync.Mutex
	second time.Time // when the present second of the log began
	logged int       // lines in it
	left   int       // denials since the last line
}

// deniedLines is how many denials are logged a second: whoever is denied must
// not be able to fill a disk.
const deniedLines = 10

// mayLog reports whether a denial is to be logged, and how many were not since
// the last that was.
func (g *guard) mayLog(now time.Time) (left int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.second) >= time.Second {
		g.second, g.logged = now, 0
	}
	if g.logged == deniedLines {
		g.left++
		return 0, false
	}
	g.logged++
	left, g.left = g.left, 0
	return left, true
}

// guarded puts the authorizer before a unary function. Without one the function
// is what it was.
func (s *server) guarded(run *running, r *route, next transport.Unary) transport.Unary {
	if run.opts.guard == nil {
		return next
	}
	return func(ctx context.Context, body transport.Body) (transport.Message, error) {
		if err := s.authorize(ctx, run, r.name, &r.calls); err != nil {
			return transport.Message{}, err
		}
		return next(ctx, body)
	}
}

// authorize asks the authorizer, if there is one. A call that is not allowed is
// counted as one that failed.
func (s *server) authorize(ctx context.Context, run *running, endpoint string, calls *stats.Calls) (err error) {
	g := run.opts.guard
	if g == nil {
		return nil
	}
	began := time.Now()
	allowed := false
	defer func() {
		if p := recover(); p != nil {
			s.log().Error("the authorizer panicked", "service", run.name, "endpoint", endpoint, "panic", p, "stack", strings.Join(handlerFrames(), " < "))
			err = errors.NewCode(serverId, errors.CodeInternal, "%s: whether you may call this could not be decided", endpoint)
		}
		if !allowed {
			calls.Begin()
			calls.End(time.Since(began), true)
		}
	}()
	peer, _ := transport.PeerFromContext(ctx)
	var who *transport.Identity
	if peer != nil {
		who = peer.Identity
	}
	if err := g.ask(ctx, who, endpoint); err != nil {
		return s.denied(run, peer, who, endpoint, err)
	}
	allowed = true
	return nil
}

// denied logs a denial and makes what the caller gets, which names nobody but
// the caller.
func (s *server) denied(run *running, peer *transport.Peer, who *transport.Identity, endpoint string, why error) error {
	identity, remote := "none", "unknown"
	if who != nil {
		identity = who.Name
	}
	if peer != nil {
		remote = peer.Remote
	}
	if left, ok := run.opts.guard.mayLog(time.Now()); ok {
		s.log().Warn("a call was denied", "service", run.name, "endpoint", endpoint, "identity", identity, "remote", remote,
			"reason", reason(why), "not_logged", left)
	}
	if _, ok := stderrors.AsType[*errors.Error](why); ok {
		return run.handlerError(why)
	}
	if who == nil {
		return errors.NewCode(serverId, errors.CodeUnauthenticated, "%s: you have to prove who you are, with a client certificate for example", endpoint)
	}
	return errors.NewCode(serverId, errors.CodePermissionDenied, "%s: %q may not call this", endpoint, identity)
}

// reason is the text of an error without JSON around it.
func reason(err error) string {
	if e, ok := stderrors.AsType[*errors.Error](err); ok && e.Detail != "" {
		return e.Detail
	}
	return fmt.Sprint(err)
}
