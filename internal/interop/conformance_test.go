package interop

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestConnectConformance runs the Connect project's conformance suite against a
// service of ours: Connect, gRPC and gRPC-Web, plain and TLS, on one port. The
// short form leaves out the combinations with compression and with JSON.
func TestConnectConformance(t *testing.T) {
	args := []string{
		"--mode", "server",
		"--conf", filepath.Join("testdata", "conformance.yaml"),
		"--known-failing", "@" + filepath.Join("testdata", "known-failing.txt"),
		"--known-flaky", "@" + filepath.Join("testdata", "known-flaky.txt"),
	}
	limit := 10 * time.Minute
	if testing.Short() {
		limit = 2 * time.Minute
		args = append(args, "--skip", "**/Compression:COMPRESSION_GZIP/**", "--skip", "**/Codec:CODEC_JSON/**")
	}
	server := program(t, "conformanceserver")
	runner := tool(t, "connectconformance")
	protos := filepath.Join(moduleDir(t, "connectrpc.com/conformance"), "proto")
	args = append(args, "--", server, protos)

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, runner, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v after %v\n%s", err, time.Since(began), out)
	}
	passed := regexp.MustCompile(`(?m)^Total cases: (\d+)\n(.*)$`).FindSubmatch(out)
	if passed == nil {
		t.Fatalf("the runner has not said how many cases there were:\n%s", out)
	}
	t.Logf("%s cases in %v: %s", passed[1], time.Since(began).Round(time.Second), passed[2])
}
