// Package debug is what every service answers about itself: Debug.Health and
// Debug.Stats.
package debug

import (
	"context"
	"runtime"
	"time"
)

// Source is the service that is asked about.
type Source interface {
	// Serving reports whether the service takes calls, and what of it is not
	// well, by name of the part.
	Serving() (bool, map[string]error)
	// Endpoints returns what has been counted, in the order of the names.
	Endpoints() []Endpoint
}

// Endpoint is what has been counted of one endpoint. Durations are in
// nanoseconds; quantiles are at most a quarter too long.
type Endpoint struct {
	Name     string `json:"name"`
	Requests uint64 `json:"requests"`
	Errors   uint64 `json:"errors"`
	InFlight uint64 `json:"in_flight"`
	Mean     int64  `json:"mean_ns"`
	P50      int64  `json:"p50_ns"`
	P90      int64  `json:"p90_ns"`
	P99      int64  `json:"p99_ns"`
}

// HealthRequest asks for health.
type HealthRequest struct{}

// HealthResponse says how a service is.
type HealthResponse struct {
	// Status is "ok" while the service takes calls and all is well, "degraded"
	// while it takes calls and something is not, else "stopping".
	Status string `json:"status"`
	// Problems says what is not well, by name of the part.
	Problems map[string]string `json:"problems,omitempty"`
}

// StatsRequest asks for statistics.
type StatsRequest struct{}

// StatsResponse is what a service has counted since it started.
type StatsResponse struct {
	// Started is in seconds since the Unix epoch, Uptime in seconds.
	Started uint64 `json:"started"`
	Uptime  uint64 `json:"uptime"`
	// Memory is the size of the heap in use, in bytes.
	Memory uint64 `json:"memory"`
	// Threads is the number of goroutines, as in go-micro.
	Threads uint64 `json:"threads"`
	// GC is the time that garbage collection has stopped the program, in
	// nanoseconds.
	GC        uint64     `json:"gc"`
	Requests  uint64     `json:"requests"`
	Errors    uint64     `json:"errors"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Debug is the handler. Its type's name is part of the endpoints' names.
type Debug struct {
	source  Source
	started time.Time
}

// New returns the handler of a service that starts now.
func New(source Source) *Debug {
	return &Debug{source: source, started: time.Now()}
}

// Health answers Debug.Health.
func (d *Debug) Health(_ context.Context, _ *HealthRequest, rsp *HealthResponse) error {
	serving, problems := d.source.Serving()
	switch {
	case !serving:
		rsp.Status = "stopping"
	case len(problems) > 0:
		rsp.Status = "degraded"
	default:
		rsp.Status = "ok"
	}
	for part, err := range problems {
		if rsp.Problems == nil {
			rsp.Problems = make(map[string]string)
		}
		rsp.Problems[part] = err.Error()
	}
	return nil
}

// Stats answers Debug.Stats.
func (d *Debug) Stats(_ context.Context, _ *StatsRequest, rsp *StatsResponse) error {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	rsp.Started = uint64(d.started.Unix())
	rsp.Uptime = uint64(time.Since(d.started).Seconds())
	rsp.Memory = mem.HeapInuse
	rsp.Threads = uint64(runtime.NumGoroutine())
	rsp.GC = mem.PauseTotalNs
	rsp.Endpoints = d.source.Endpoints()
	if rsp.Endpoints == nil {
		rsp.Endpoints = []Endpoint{} // a list in JSON, not null
	}
	for _, e := range rsp.Endpoints {
		rsp.Requests += e.Requests
		rsp.Errors += e.Errors
	}
	return nil
}
