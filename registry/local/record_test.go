package local

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro/registry"
)

func TestHalfWrittenRecordIsNeverRead(t *testing.T) {
	dir := freshDir(t)
	w, r := open(t, dir), open(t, dir)
	record := func(i int) *registry.Service {
		s := node("greeter", "a", fmt.Sprintf("127.0.0.1:%d", 1000+i))
		s.Metadata = map[string]string{"address": s.Nodes[0].Address, "bulk": strings.Repeat("x", i%7*20000)}
		s.Nodes[0].Metadata = map[string]string{"address": s.Nodes[0].Address}
		return s
	}
	register(t, w, record(0))
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() {
		defer cancel()
		for i := range 500 {
			if err := w.Register(context.Background(), record(i)); err != nil {
				t.Errorf("Register: %v", err)
				return
			}
		}
	})
	reads := 0
	for ctx.Err() == nil {
		got, err := r.GetService(context.Background(), "greeter")
		if err != nil {
			t.Errorf("GetService while the record is being replaced: %v", err)
			break
		}
		n := got[0].Nodes[0]
		if got[0].Metadata["address"] != n.Address || n.Metadata["address"] != n.Address {
			t.Errorf("GetService returned a mix of two records: %v %v %v", got[0].Metadata["address"], n.Metadata["address"], n.Address)
			break
		}
		reads++
	}
	g.Wait()
	if reads == 0 {
		t.Error("nothing was read while the record was being replaced")
	}
}

func TestUnreadableRecordOfALivingProcessIsLeftAloneAndLoggedOnce(t *testing.T) {
	good, err := encodeService(node("greeter", "a", "127.0.0.1:1"), &registry.Node{Id: "a", Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := encodeRecord(1, good)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":          nil,
		"half":           whole[:len(whole)/2],
		"later format":   bytes.Replace(whole, []byte(`"format":1`), []byte(`"format":2`), 1),
		"no node":        []byte(`{"format":1,"service":{"name":"greeter"}}`),
		"no service":     []byte(`{"format":1}`),
		"null":           []byte(`null`),
		"two nodes":      []byte(`{"format":1,"service":{"name":"greeter","nodes":[{"id":"a"},{"id":"b"}]}}`),
		"too large":      append(bytes.Clone(whole), bytes.Repeat([]byte(" "), maxRecord)...),
		"something else": []byte("\x00\xff\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			dir := freshDir(t)
			w := open(t, dir)
			register(t, w, node("greeter", "a", "127.0.0.1:1"))
			r, err := New(Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			found, err := filepath.Glob(filepath.Join(r.Dir(), "*"+recordSuffix))
			if err != nil || len(found) != 1 {
				t.Fatalf("the records are %v (%v)", found, err)
			}
			if err := os.WriteFile(found[0], data, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := addresses(t, r, "greeter"); got != "" {
					t.Fatalf("a record that is %s gave a node at %q", name, got)
				}
			}
			if _, err := os.Stat(found[0]); err != nil {
				t.Errorf("the record of a living process was removed: %v", err)
			}
			if n := strings.Count(log.String(), "cannot be read"); n != 1 {
				t.Errorf("it was logged %d times, want once: %s", n, &log)
			}
		})
	}
}

func TestOrphanedFilesAreSweptOnceTheyAreOld(t *testing.T) {
	r := open(t, freshDir(t))
	s := node("greeter", "a", "127.0.0.1:1")
	register(t, r, s)
	old := time.Now().Add(-2 * orphanAge)
	for name, when := range map[string]time.Time{
		"temp-old": old, "node-old.lock": old, "node-dead.json": old, "stranger.txt": old,
		"temp-new": time.Now(), "node-new.lock": time.Now(),
	} {
		path := filepath.Join(r.Dir(), name)
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	// The files of a node that lives may be as old as they like.
	mine, err := filepath.Glob(filepath.Join(r.Dir(), "node-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range mine {
		if !strings.Contains(path, "-new") {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := r.ListServices(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := strings.Join(files(t, r), " ")
	for _, gone := range []string{"temp-old", "node-old.lock", "node-dead.json"} {
		if strings.Contains(left, gone) {
			t.Errorf("%s was not swept; left are %s", gone, left)
		}
	}
	for _, stays := range []string{"temp-new", "node-new.lock", "stranger.txt"} {
		if !strings.Contains(left, stays) {
			t.Errorf("%s was swept; left are %s", stays, left)
		}
	}
	if got := addresses(t, r, "greeter"); got != "127.0.0.1:1" {
		t.Errorf("the living node is at %q after the sweep", got)
	}
}

// What is read as a record is whole and comes back the same when written.
func FuzzParseRecord(f *testing.F) {
	service, err := encodeService(node("greeter", "a", "127.0.0.1:1"), &registry.Node{Id: "a", Address: "127.0.0.1:1"})
	if err != nil {
		f.Fatal(err)
	}
	whole, err := encodeRecord(1, service)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"format":1,"service":{"name":"x","endpoints":[{"name":"A.B","request":{"values":[{"values":[null]}]}}],"nodes":[{"id":"y"}]}}`))
	f.Add([]byte(`{"format":1,"service":{"name":"x","endpoints":[null],"nodes":[null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		if err := registry.Check(r.Service); err != nil || len(r.Service.Nodes) != 1 {
			t.Fatalf("parseRecord took what is not whole: %v, %d nodes", err, len(r.Service.Nodes))
		}
		service, err := encodeService(r.Service, r.Service.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		again, err := encodeRecord(r.Written, service)
		if err != nil {
			return // JSON may be written longer than it was
		}
		r2, err := parseRecord(again)
		if err != nil || !reflect.DeepEqual(r, r2) {
			t.Fatalf("read again it is %+v (%v), want %+v", r2, err, r)
		}
		registry.Merge([]*registry.Service{r.Service.Clone(), r2.Service})
	})
}
