package debug

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// fake is a service that is asked about.
type fake struct {
	serving   bool
	problems  map[string]error
	endpoints []Endpoint
}

func (f *fake) Serving() (bool, map[string]error) { return f.serving, f.problems }
func (f *fake) Endpoints() []Endpoint             { return f.endpoints }

// golden compares v as JSON with a file.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

func TestHealthSaysHowAServiceIs(t *testing.T) {
	down := errors.New("etcd: connection refused")
	for _, tt := range []struct {
		name   string
		source fake
		status string
	}{
		{"ok", fake{serving: true}, "ok"},
		{"ok_empty", fake{serving: true, problems: map[string]error{}}, "ok"},
		{"degraded", fake{serving: true, problems: map[string]error{"registry": down, "check": errors.New("no database")}}, "degraded"},
		{"stopping", fake{problems: map[string]error{"registry": down}}, "stopping"},
	} {
		var rsp HealthResponse
		if err := New(&tt.source).Health(context.Background(), &HealthRequest{}, &rsp); err != nil {
			t.Fatal(err)
		}
		if rsp.Status != tt.status {
			t.Errorf("%s: got %q", tt.name, rsp.Status)
		}
		golden(t, "health_"+tt.name, &rsp)
	}
}

func TestStatsHaveTheShapeThatToolsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(&fake{serving: true, endpoints: []Endpoint{
			{Name: "Greeter.Hello", Requests: 12, Errors: 2, InFlight: 1, Mean: 1500, P50: 1000, P90: 2000, P99: 9000},
			{Name: "Greeter.Stream", Requests: 3, Errors: 1},
		}})
		<-time.After(75 * time.Second)
		var rsp StatsResponse
		if err := d.Stats(context.Background(), &StatsRequest{}, &rsp); err != nil {
			t.Fatal(err)
		}
		if rsp.Memory == 0 || rsp.Threads == 0 {
			t.Errorf("got %+v", rsp)
		}
		rsp.Memory, rsp.Threads, rsp.GC = 1, 2, 3 // differ from run to run
		golden(t, "stats", &rsp)
	})
}

func TestStatsOfAServiceWithoutEndpointsHaveAnEmptyList(t *testing.T) {
	var rsp StatsResponse
	if err := New(&fake{}).Stats(context.Background(), &StatsRequest{}, &rsp); err != nil {
		t.Fatal(err)
	}
	rsp.Started, rsp.Memory, rsp.Threads, rsp.GC = 0, 1, 2, 3
	golden(t, "stats_empty", &rsp)
}
