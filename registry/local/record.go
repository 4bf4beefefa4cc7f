package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/seed-9a4e2794/micro/registry"
)

const (
	// recordFormat is the version of the record. A record of another version
	// is left alone and not seen.
	recordFormat = 1
	// maxRecord bounds what is written and read, in bytes.
	maxRecord = 1 << 20
)

// record is one node as it stands in a file.
type record struct {
	// Format is recordFormat.
	Format int `json:"format"`
	// Written is when, in nanoseconds since the Unix epoch: of two records of
	// one node the newer counts.
	Written int64 `json:"written"`
	// Service holds the one node.
	Service *registry.Service `json:"service"`
}

// encodeService returns the JSON of s with n as its only node.
func encodeService(s *registry.Service, n *registry.Node) ([]byte, error) {
	one := *s
	one.Nodes = []*registry.Node{n}
	return encode(&one)
}

// encodeRecord returns the record around what encodeService returned.
func encodeRecord(written int64, service []byte) ([]byte, error) {
	b, err := encode(struct {
		Format  int             `json:"format"`
		Written int64           `json:"written"`
		Service json.RawMessage `json:"service"`
	}{recordFormat, written, service})
	if err == nil && len(b) > maxRecord {
		err = fmt.Errorf("the record has %d bytes, at most %d are kept: shorten the metadata or the endpoints", len(b), maxRecord)
	}
	return b, err
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // would make "<" six bytes long
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// parseRecord reads a record and refuses what this version cannot have
// written whole.
func parseRecord(data []byte) (*record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("it has more than %d bytes", maxRecord)
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("it is no JSON record: %w", err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("its format is %d, this program reads format %d", r.Format, recordFormat)
	}
	if err := registry.Check(r.Service); err != nil {
		return nil, err
	}
	if len(r.Service.Nodes) != 1 {
		return nil, fmt.Errorf("it has %d nodes, want one", len(r.Service.Nodes))
	}
	return r, nil
}

// The names of files. A node of a process has two, "node-" and a random part,
// never used again. A node that no process owns has one, named after itself.
const (
	nodePrefix   = "node-"
	keptPrefix   = "kept-"
	tempPrefix   = "temp-"
	recordSuffix = ".json"
	lockSuffix   = ".lock"
)

func keptFile(name, id string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s%s", len(name), name, id)
	return keptPrefix + hex.EncodeToString(h.Sum(nil)) + recordSuffix
}
