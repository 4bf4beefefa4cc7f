package wire

import (
	"context"
	"fmt"
	"math"
	"time"
)

// sweepTimer ends calls at their deadlines: one timer a connection, set to the
// earliest. As most calls have the same timeout, it is rarely moved, and the
// slots are looked through about once a timeout, whatever the rate of calls.
// All of it belongs to the caller's lock.
type sweepTimer struct {
	timer     *time.Timer
	at        int64 // when the timer fires, from the caller's base; 0 is not set
	lastHeard int64 // when a look last found that something had come
	pinged    int64 // when a PING was sent that has not been answered; 0 is none
}

func (t *sweepTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.at = 0
}

// sweepGap is the least time between two looks through the slots.
const sweepGap = int64(time.Millisecond)

// arm makes sure that the timer fires by then. The lock is held.
func (c *Caller) arm(then int64) {
	if c.at != 0 && c.at <= then {
		return
	}
	c.at = then
	wait := time.Duration(then) - time.Since(c.base)
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.sweep)
	} else {
		c.timer.Reset(wait)
	}
}

// watch sees to it that silence is noticed while calls are under way. The lock
// is held.
func (c *Caller) watch() {
	c.lastHeard = int64(time.Since(c.base))
	c.arm(c.lastHeard + int64(c.cfg.KeepAlive))
}

func (c *Caller) sweep() {
	now := int64(time.Since(c.base))
	var late []*slot
	next := int64(math.MaxInt64)
	c.mu.Lock()
	if c.at == 0 {
		c.mu.Unlock()
		return // stopped
	}
	c.at = 0
	for _, s := range c.slots {
		switch {
		case !s.waiting || s.deadline == 0:
		case s.deadline <= now:
			s.waiting = false
			s.err, s.body = context.DeadlineExceeded, nil
			late = append(late, s)
		default:
			next = min(next, s.deadline)
		}
	}
	ping, dead := c.silence(now)
	if c.live > 0 { // also after a GOAWAY: the peer may die while it drains
		next = min(next, now+int64(c.cfg.KeepAlive))
	}
	if next != math.MaxInt64 {
		c.arm(max(next, now+sweepGap))
	}
	c.mu.Unlock()
	for _, s := range late {
		c.tell(s)
	}
	if dead {
		c.end(c, fmt.Errorf("nothing was heard for %v, and a PING was not answered", 2*c.cfg.KeepAlive))
	} else if ping {
		_ = c.control(header{typ: typePing}) // fails only when the connection has ended
	}
}

// silence says whether to ask the peer if it is there, or to give it up. The
// lock is held.
func (c *Caller) silence(now int64) (ping, dead bool) {
	if c.r.heard.Swap(false) || c.live == 0 {
		c.pinged = 0
		c.lastHeard = now
		return false, false
	}
	quiet := int64(c.cfg.KeepAlive)
	switch {
	case c.pinged == 0 && now-c.lastHeard >= quiet:
		c.pinged = now
		return true, false
	case c.pinged != 0 && now-c.pinged >= quiet:
		if c.w.working() { // the PING may still be behind other frames; the stall timeout watches over these
			c.pinged = now
			return false, false
		}
		return false, true
	}
	return false, false
}
