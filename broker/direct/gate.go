package direct

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// gateInterval is how often one line may be written.
const gateInterval = time.Second

// gate lets one warning through a second and counts the others, so that an
// outage does not fill the log. The zero gate is ready.
type gate struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

func (g *gate) log(ctx context.Context, l *slog.Logger, msg string, args ...any) {
	g.mu.Lock()
	now := time.Now()
	if !g.last.IsZero() && now.Sub(g.last) < gateInterval {
		g.skipped++
		g.mu.Unlock()
		l.DebugContext(ctx, msg, args...)
		return
	}
	skipped := g.skipped
	g.last, g.skipped = now, 0
	g.mu.Unlock()
	if skipped > 0 {
		args = append(args, "alike_before", skipped)
	}
	l.WarnContext(ctx, msg, args...)
}
