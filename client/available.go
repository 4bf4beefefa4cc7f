package client

import (
	"context"
	stderrors "errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

const (
	// availableLife is how long the names of the services there are are kept:
	// a client that keeps asking for a service that is not there must not keep
	// the registry busy.
	availableLife = time.Second
	// availableWait is how long the registry may take to list them.
	availableWait = 250 * time.Millisecond
	// availableMax is how many of them an error names.
	availableMax = 10
)

// available remembers which services there are, for errors.
type available struct {
	mu    sync.Mutex
	asked time.Time
	text  string
}

// explain adds to the error of a service that is not there which are.
func (a *available) explain(ctx context.Context, r registry.Registry, err error) error {
	if r == nil || !stderrors.Is(err, registry.ErrNotFound) || ctx.Err() != nil {
		return err
	}
	if text := a.names(ctx, r); text != "" {
		return fmt.Errorf("%w (available: %s)", err, text)
	}
	return err
}

func (a *available) names(ctx context.Context, r registry.Registry) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.asked.IsZero() && time.Since(a.asked) < availableLife {
		return a.text
	}
	ctx, cancel := context.WithTimeout(ctx, availableWait)
	defer cancel()
	services, err := r.ListServices(ctx)
	a.asked, a.text = time.Now(), ""
	if err != nil {
		return "" // the error at hand matters more
	}
	seen := make(map[string]bool)
	var names []string
	for _, s := range services {
		if !seen[s.Name] && !strings.HasPrefix(s.Name, "micro.") {
			seen[s.Name] = true
			names = append(names, s.Name)
		}
	}
	sort.Strings(names)
	switch {
	case len(names) == 0:
		a.text = "none"
	case len(names) > availableMax:
		a.text = strings.Join(names[:availableMax], ", ") + fmt.Sprintf(" and %d more", len(names)-availableMax)
	default:
		a.text = strings.Join(names, ", ")
	}
	return a.text
}
