package micro_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/broker"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/client"
	"github.com/seed-9a4e2794/micro/client/selector"
	"github.com/seed-9a4e2794/micro/config/backend"
	"github.com/seed-9a4e2794/micro/config/cmd"
	"github.com/seed-9a4e2794/micro/registry"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/server"
	"github.com/seed-9a4e2794/micro/transport"
	"github.com/seed-9a4e2794/micro/transport/credentials"
	transportmemory "github.com/seed-9a4e2794/micro/transport/memory"
)

// named is parts that say who chose them and with which addresses.
type (
	namedRegistry struct {
		registry.Registry
		name   string
		closed *int
	}
	namedBroker struct {
		broker.Broker
		name string
	}
	namedTransport struct {
		transport.Transport
		name string
	}
)

func (r *namedRegistry) Close() error {
	*r.closed++
	return nil
}

// namedBackend makes such parts.
func namedBackend(name string, closed *int) backend.Backend {
	label := func(c backend.Config) string { return strings.Join(append([]string{name}, c.Addresses...), "@") }
	return backend.Backend{
		Name: name,
		Registry: func(c backend.Config) (registry.Registry, error) {
			return &namedRegistry{memory.New(), label(c), closed}, nil
		},
		Broker: func(c backend.Config) (broker.Broker, error) {
			return &namedBroker{brokermemory.New(), label(c)}, nil
		},
		Transport: func(c backend.Config) (transport.Transport, error) {
			return &namedTransport{transportmemory.New(transportmemory.Config{}), label(c)}, nil
		},
	}
}

func TestAFlagGoesBeforeItsVariableAndThatBeforeTheCode(t *testing.T) {
	var closed int
	var tested []string
	set := func(s micro.Service) cmd.Settings { return s.Options().Cmd.Options().Settings }
	text := func(p *string) string {
		if p == nil {
			return "-"
		}
		return *p
	}
	registryName := func(s micro.Service) string { return s.Options().Registry.(*namedRegistry).name }
	brokerName := func(s micro.Service) string { return s.Server().Options().Broker.(*namedBroker).name }
	transportName := func(s micro.Service) string { return s.Client().Options().Transport.(*namedTransport).name }
	pem := certificates(t, "a", "b")
	own := func(opts ...client.Option) micro.Option { return micro.Client(client.NewClient(opts...)) }
	for _, tt := range []struct {
		flag             string
		code             micro.Option
		env, arg         string
		read             func(micro.Service) string
		byCode           string
		byEnv, byArg     string
		extraEnv, extras []string // what else is set, by variable and by flag
	}{
		{flag: "server_name", code: micro.Name("code"), env: "env", arg: "arg",
			read: func(s micro.Service) string { return s.Name() }, byCode: "code", byEnv: "env", byArg: "arg"},
		{flag: "server_version", code: micro.Version("code"), env: "env", arg: "arg",
			read: func(s micro.Service) string { return s.Server().Options().Version }, byCode: "code", byEnv: "env", byArg: "arg"},
		{flag: "server_id", code: micro.Server(server.NewServer(server.Id("code"))), env: "env", arg: "arg",
			read: func(s micro.Service) string { return s.Server().Options().Id }, byCode: "code", byEnv: "env", byArg: "arg"},
		{flag: "server_address", code: micro.Address("127.0.0.1:1"), env: "127.0.0.1:2", arg: "127.0.0.1:3",
			read:   func(s micro.Service) string { return s.Server().Options().Address },
			byCode: "127.0.0.1:1", byEnv: "127.0.0.1:2", byArg: "127.0.0.1:3"},
		{flag: "server_advertise", code: micro.Server(server.NewServer(server.Advertise("code"))), env: "env", arg: "arg",
			read: func(s micro.Service) string { return s.Server().Options().Advertise }, byCode: "code", byEnv: "env", byArg: "arg"},
		{flag: "server_metadata", code: micro.Metadata(map[string]string{"a": "code", "b": "code"}), env: "b=env,c=x=y", arg: "b=arg",
			read:   func(s micro.Service) string { return fmt.Sprint(s.Server().Options().Metadata) },
			byCode: "map[a:code b:code]", byEnv: "map[a:code b:env c:x=y]", byArg: "map[a:code b:arg]"},
		{flag: "register_ttl", code: micro.RegisterTTL(time.Second), env: "120", arg: "180s",
			read:   func(s micro.Service) string { return s.Server().Options().RegisterTTL.String() },
			byCode: "1s", byEnv: "2m0s", byArg: "3m0s"},
		{flag: "register_interval", code: micro.RegisterInterval(time.Second), env: "20", arg: "30s",
			read:   func(s micro.Service) string { return s.Server().Options().RegisterInterval.String() },
			byCode: "1s", byEnv: "20s", byArg: "30s"},
		{flag: "client_request_timeout", code: own(client.RequestTimeout(time.Second)), env: "2s", arg: "300ms",
			read:   func(s micro.Service) string { return s.Client().Options().CallOptions.RequestTimeout.String() },
			byCode: "1s", byEnv: "2s", byArg: "300ms"},
		{flag: "client_retries", code: own(client.Retries(7)), env: "8", arg: "0",
			read:   func(s micro.Service) string { return fmt.Sprint(s.Client().Options().CallOptions.Retries) },
			byCode: "7", byEnv: "8", byArg: "0"},
		{flag: "client_pool_size", code: own(client.PoolSize(7)), env: "8", arg: "9",
			read: func(s micro.Service) string { return fmt.Sprint(s.Client().Options().PoolSize) }, byCode: "7", byEnv: "8", byArg: "9"},
		{flag: "client_pool_ttl", code: own(client.PoolTTL(time.Second)), env: "2s", arg: "3s",
			read: func(s micro.Service) string { return s.Client().Options().PoolTTL.String() }, byCode: "1s", byEnv: "2s", byArg: "3s"},
		{flag: "client", env: "rpc", arg: "mucp", read: func(s micro.Service) string { return text(set(s).Client) },
			byCode: "-", byEnv: "rpc", byArg: "mucp"},
		{flag: "server", env: "rpc", arg: "mucp", read: func(s micro.Service) string { return text(set(s).Server) },
			byCode: "-", byEnv: "rpc", byArg: "mucp"},
		{flag: "tls_cert", env: pem("a"), arg: pem("b"), extraEnv: []string{"tls_key=" + pem("a-key")}, extras: []string{"--tls_key=" + pem("b-key")},
			read: func(s micro.Service) string { return text(set(s).TLSCert) }, byCode: "-", byEnv: pem("a"), byArg: pem("b")},
		{flag: "tls_key", env: pem("a-key"), arg: pem("b-key"), extraEnv: []string{"tls_cert=" + pem("a")}, extras: []string{"--tls_cert=" + pem("b")},
			read: func(s micro.Service) string { return text(set(s).TLSKey) }, byCode: "-", byEnv: pem("a-key"), byArg: pem("b-key")},
		{flag: "tls_ca", env: pem("a"), arg: pem("b"), read: func(s micro.Service) string { return text(set(s).TLSCA) },
			byCode: "-", byEnv: pem("a"), byArg: pem("b")},
		{flag: "tls_clients", env: "optional", arg: "required", extraEnv: []string{"tls_ca=" + pem("a"), "tls_cert=" + pem("a"), "tls_key=" + pem("a-key")},
			read: func(s micro.Service) string { return text(set(s).TLSClients) }, byCode: "-", byEnv: "optional", byArg: "required"},
		{flag: "registry", code: micro.Registry(&namedRegistry{memory.New(), "code", &closed}), env: "one", arg: "two",
			read: registryName, byCode: "code", byEnv: "one", byArg: "two"},
		{flag: "registry_address", env: "x:1,y:2", arg: "z:3", extraEnv: []string{"registry=one"}, extras: []string{"--registry=two"},
			code: micro.Registry(&namedRegistry{memory.New(), "code", &closed}),
			read: registryName, byCode: "code", byEnv: "one@x:1@y:2", byArg: "two@z:3"},
		{flag: "broker", code: micro.Broker(&namedBroker{brokermemory.New(), "code"}), env: "one", arg: "two",
			read: brokerName, byCode: "code", byEnv: "one", byArg: "two"},
		{flag: "broker_address", code: micro.Broker(&namedBroker{brokermemory.New(), "code"}), env: "x:1", arg: "z:3, w:4",
			extraEnv: []string{"broker=one"}, extras: []string{"--broker=two"},
			read: brokerName, byCode: "code", byEnv: "one@x:1", byArg: "two@z:3@w:4"},
		{flag: "transport", code: micro.Transport(&namedTransport{transportmemory.New(transportmemory.Config{}), "code"}), env: "one", arg: "two",
			read: transportName, byCode: "code", byEnv: "one", byArg: "two"},
		{flag: "transport_address", code: micro.Transport(&namedTransport{transportmemory.New(transportmemory.Config{}), "code"}), env: "x:1", arg: "z:3",
			extraEnv: []string{"transport=one"}, extras: []string{"--transport=two"},
			read: transportName, byCode: "code", byEnv: "one@x:1", byArg: "two@z:3"},
		{flag: "selector", code: micro.Selector(&ownSelector{}), env: "random", arg: "roundrobin",
			read: func(s micro.Service) string {
				if _, ok := s.Client().Options().Selector.(*ownSelector); ok {
					return "code"
				}
				return text(set(s).Selector)
			}, byCode: "code", byEnv: "random", byArg: "roundrobin"},
	} {
		t.Run(tt.flag, func(t *testing.T) {
			runtimeDir(t)
			serviceWith := func(args ...string) string {
				t.Helper()
				opts := []micro.Option{micro.Backends(namedBackend("one", &closed), namedBackend("two", &closed)), micro.Args(append([]string{}, args...))}
				if tt.code != nil {
					opts = append(opts, tt.code)
				}
				s := micro.NewService(opts...)
				if err := s.Init(); err != nil {
					t.Fatal(err)
				}
				return tt.read(s)
			}
			variable := func(flag string) string { return "MICRO_" + strings.ToUpper(flag) }
			if got := serviceWith(); got != tt.byCode {
				t.Errorf("code alone: got %q, want %q", got, tt.byCode)
			}
			t.Setenv(variable(tt.flag), "")
			if got := serviceWith(); got != tt.byCode {
				t.Errorf("code and an empty variable: got %q, want %q", got, tt.byCode)
			}
			t.Setenv(variable(tt.flag), tt.env)
			for _, e := range tt.extraEnv {
				k, v, _ := strings.Cut(e, "=")
				t.Setenv(variable(k), v)
			}
			if got := serviceWith(); got != tt.byEnv {
				t.Errorf("code and variable: got %q, want %q", got, tt.byEnv)
			}
			if got := serviceWith(append(tt.extras, "--"+tt.flag+"="+tt.arg)...); got != tt.byArg {
				t.Errorf("code, variable and --flag=value: got %q, want %q", got, tt.byArg)
			}
			if got := serviceWith(append(tt.extras, "--"+tt.flag, tt.arg)...); got != tt.byArg {
				t.Errorf("code, variable and --flag value: got %q, want %q", got, tt.byArg)
			}
		})
		tested = append(tested, tt.flag)
	}
	for _, f := range cmd.NewCmd().App().Flags {
		if !slices.Contains(tested, f.Names()[0]) {
			t.Errorf("--%s is not tested", f.Names()[0])
		}
	}
}

// certificates makes a certificate NAME and its key NAME-key for each name, and
// returns where they are.
func certificates(t *testing.T, names ...string) func(name string) string {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name+".pem") }
	a, err := credentials.NewAuthority("test", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		cert, key, err := a.Issue(credentials.Node{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{path(name): cert, path(name + "-key"): key} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}

// ownSelector is a selector of the program.
type ownSelector struct{ selector.Selector }

func TestTheFlagDirectReplacesABrokerOfTheCode(t *testing.T) {
	b := brokermemory.New()
	s := micro.NewService(micro.Broker(b), micro.Registry(memory.New()), micro.Args([]string{"--broker=direct"}))
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	for where, got := range map[string]broker.Broker{"service": s.Options().Broker, "server": s.Server().Options().Broker, "client": s.Client().Options().Broker} {
		if got == nil || got == broker.Broker(b) {
			t.Errorf("%s: the broker is %T", where, got)
		}
	}
}
