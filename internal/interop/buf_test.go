package interop

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-9a4e2794/micro/internal/leaktest"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// buf has a go.mod of its own here, buf.mod: in go.mod its needs would raise
// the versions that the other tests, and our own code in them, are run with.
// Building it takes minutes.
func TestBufCurlCallsThroughReflection(t *testing.T) {
	if testing.Short() {
		t.Skip("builds buf, which takes minutes")
	}
	path := goCommand(t, "tool", "-modfile=buf.mod", "-n", "buf")
	leaktest.Check(t)
	n := serve(t, false, port.Config{}, registerGreeter)
	for _, protocol := range []string{"grpc", "grpcweb", "connect"} {
		t.Run(protocol, func(t *testing.T) {
			for _, c := range []struct{ endpoint, want string }{
				{"interop.Greeter/Hello", `"message":"Hello Ada Hello Ada"`}, {"interop.Clock/Tick", `"message":"tick Ada"`},
			} {
				ctx, cancel := within(t)
				defer cancel()
				cmd := exec.CommandContext(ctx, path, "curl", "--http2-prior-knowledge", "--protocol", protocol, "-d", `{"name":"Ada","times":2}`, n.url("/"+c.endpoint))
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(strings.ReplaceAll(string(out), `": "`, `":"`), c.want) {
					t.Errorf("%s: got %v\n%s\nwant %s", c.endpoint, err, out, c.want)
				}
			}
		})
	}
}
