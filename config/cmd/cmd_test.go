package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/urfave/cli/v3"
)

// settings parses args with a new command line.
func settings(t *testing.T, args ...string) (Settings, error) {
	t.Helper()
	c := NewCmd(Name("prog"), Args(append([]string{}, args...)))
	err := c.Init()
	return c.Options().Settings, err
}

// show writes the fields that are set, by name.
func show(s Settings) string {
	var out []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsNil() {
			out = append(out, fmt.Sprintf("%s=%v", v.Type().Field(i).Name, reflect.Indirect(f)))
		}
	}
	return strings.Join(out, " ")
}

// values are, for each flag, two values and what they become.
func values() map[string][4]string {
	return map[string][4]string{
		"client":                 {"a", "Client=a", "b", "Client=b"},
		"client_request_timeout": {"1s", "ClientRequestTimeout=1s", "1m30s", "ClientRequestTimeout=1m30s"},
		"client_retries":         {"0", "ClientRetries=0", "3", "ClientRetries=3"},
		"client_pool_size":       {"1", "ClientPoolSize=1", "100", "ClientPoolSize=100"},
		"client_pool_ttl":        {"1s", "ClientPoolTTL=1s", "2m", "ClientPoolTTL=2m0s"},
		"register_ttl":           {"60", "RegisterTTL=1m0s", "90s", "RegisterTTL=1m30s"},
		"register_interval":      {"30", "RegisterInterval=30s", "500ms", "RegisterInterval=500ms"},
		"server":                 {"a", "Server=a", "b", "Server=b"},
		"server_name":            {"a", "ServerName=a", "b c", "ServerName=b c"},
		"server_version":         {"1", "ServerVersion=1", "2", "ServerVersion=2"},
		"server_id":              {"a", "ServerID=a", "b", "ServerID=b"},
		"server_address":         {":1", "ServerAddress=:1", ":2", "ServerAddress=:2"},
		"server_advertise":       {"x:1", "ServerAdvertise=x:1", "x:2", "ServerAdvertise=x:2"},
		"server_metadata":        {"a=1,b=2", "ServerMetadata=map[a:1 b:2]", "a=x=y", "ServerMetadata=map[a:x=y]"},
		"broker":                 {"a", "Broker=a", "b", "Broker=b"},
		"broker_address":         {"x:1,y:2", "BrokerAddress=[x:1 y:2]", " x:3 , ", "BrokerAddress=[x:3]"},
		"registry":               {"a", "Registry=a", "b", "Registry=b"},
		"registry_address":       {"x:1", "RegistryAddress=[x:1]", "y:1,z:2", "RegistryAddress=[y:1 z:2]"},
		"selector":               {"a", "Selector=a", "b", "Selector=b"},
		"transport":              {"a", "Transport=a", "b", "Transport=b"},
		"tls_cert":               {"a.pem", "TLSCert=a.pem", "b.pem", "TLSCert=b.pem"},
		"tls_key":                {"a.pem", "TLSKey=a.pem", "b.pem", "TLSKey=b.pem"},
		"tls_ca":                 {"a.pem", "TLSCA=a.pem", "b.pem", "TLSCA=b.pem"},
		"tls_clients":            {"any", "TLSClients=any", "required", "TLSClients=required"},
		"transport_address":      {"x:1", "TransportAddress=[x:1]", "y:1", "TransportAddress=[y:1]"},
	}
}

func TestEveryFlagIsReadFromItsVariableAndBeforeThatFromTheCommandLine(t *testing.T) {
	flags := NewCmd().App().Flags
	if len(flags) != len(values()) || len(flags) != reflect.TypeFor[Settings]().NumField() {
		t.Errorf("there are %d flags, %d are tested, Settings has %d fields", len(flags), len(values()), reflect.TypeFor[Settings]().NumField())
	}
	for flag, v := range values() {
		t.Run(flag, func(t *testing.T) {
			if s, err := settings(t); err != nil || show(s) != "" {
				t.Errorf("nothing given: %q, %v", show(s), err)
			}
			t.Setenv("MICRO_"+strings.ToUpper(flag), v[0])
			if s, err := settings(t); err != nil || show(s) != v[1] {
				t.Errorf("variable %q: %q, %v; want %q", v[0], show(s), err, v[1])
			}
			for _, args := range [][]string{{"--" + flag, v[2]}, {"--" + flag + "=" + v[2]}, {"-" + flag + "=" + v[2]}} {
				if s, err := settings(t, args...); err != nil || show(s) != v[3] {
					t.Errorf("variable %q and %q: %q, %v; want %q", v[0], args, show(s), err, v[3])
				}
			}
			t.Setenv("MICRO_"+strings.ToUpper(flag), "")
			if s, err := settings(t); err != nil || show(s) != "" {
				t.Errorf("an empty variable: %q, %v", show(s), err)
			}
		})
	}
}

func TestMetadataMayBeGivenAgain(t *testing.T) {
	s, err := settings(t, "--server_metadata", "a=1", "--server_metadata=b=2,c=")
	if want := "ServerMetadata=map[a:1 b:2 c:]"; err != nil || show(s) != want {
		t.Errorf("got %q, %v, want %q", show(s), err, want)
	}
}

func TestValuesThatAreNoneAreErrorsThatNameTheFlag(t *testing.T) {
	for _, arg := range []string{"--client_retries=x", "--client_retries=-1", "--client_pool_size=1.5", "--client_request_timeout=5",
		"--client_request_timeout=-1s", "--client_pool_ttl=long", "--register_ttl=x", "--register_interval=-1", "--server_metadata=a", "--server_metadata==a"} {
		flag, value, _ := strings.Cut(arg, "=")
		if _, err := settings(t, arg); err == nil || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestAllFaultyValuesAreNamedAtOnce(t *testing.T) {
	_, err := settings(t, "--client_retries=x", "--register_ttl=y")
	if err == nil || !strings.Contains(err.Error(), "--client_retries") || !strings.Contains(err.Error(), "--register_ttl") {
		t.Errorf("got %v", err)
	}
}

func TestHelpIsPrintedOnceAndIsErrHelp(t *testing.T) {
	for _, tt := range []struct{ arg, want string }{{"--help", "--registry_address"}, {"-h", "--registry_address"}, {"--version", "1.2.3"}, {"-v", "1.2.3"}} {
		var out bytes.Buffer
		c := NewCmd(Name("prog"), Version("1.2.3"), Description("what it does"), Args([]string{tt.arg}))
		c.App().Writer, c.App().ErrWriter = &out, &out
		called := false
		c.App().Action = func(context.Context, *cli.Command) error { called = true; return nil }
		if err := c.Init(); !errors.Is(err, ErrHelp) {
			t.Errorf("%s: %v", tt.arg, err)
		}
		if n := strings.Count(out.String(), tt.want); n != 1 || called {
			t.Errorf("%s: %q was printed %d times, action called: %t:\n%s", tt.arg, tt.want, n, called, out.String())
		}
	}
}

func TestAUsageErrorPrintsNothing(t *testing.T) {
	var out bytes.Buffer
	c := NewCmd(Args([]string{"--no_such"}))
	c.App().Writer, c.App().ErrWriter = &out, &out
	if err := c.Init(); err == nil || errors.Is(err, ErrHelp) {
		t.Errorf("got %v", err)
	}
	if out.Len() != 0 {
		t.Errorf("it printed %q", out.String())
	}
}

func TestInitParsesOnce(t *testing.T) {
	c := NewCmd(Args([]string{"--server_name=first"}))
	for range 2 {
		if err := c.Init(Args([]string{"--server_name=" + "first"})); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Init(Args([]string{"--no_such"}), Description("set")); err != nil {
		t.Errorf("the second Init parsed: %v", err)
	}
	if o := c.Options(); *o.Settings.ServerName != "first" || o.Description != "set" {
		t.Errorf("got %q, %q", *o.Settings.ServerName, o.Description)
	}
}

func TestNilArgsReadNoEnvironmentAndEmptyArgsDo(t *testing.T) {
	t.Setenv("MICRO_SERVER_NAME", "environment")
	c := NewCmd(Args(nil))
	if err := c.Init(); err != nil || c.Options().Settings.ServerName != nil {
		t.Errorf("nil: %v, %q", err, show(c.Options().Settings))
	}
	if s, err := settings(t); err != nil || show(s) != "ServerName=environment" {
		t.Errorf("empty: %v, %q", err, show(s))
	}
}

func TestArgumentsOfGoTestAreDropped(t *testing.T) {
	got := withoutTestFlags([]string{"-test.v=true", "--registry=static", "--test.timeout=1m", "rest", "-test.run=X", "-tester"})
	if want := []string{"--registry=static", "rest", "-tester"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestArgumentsThatAreNoFlagsAreLeftToTheProgram(t *testing.T) {
	c := NewCmd(Args([]string{"--server_name=x", "file1", "file2"}))
	var got []string
	c.App().Action = func(_ context.Context, cc *cli.Command) error { got = cc.Args().Slice(); return nil }
	if err := c.Init(); err != nil || fmt.Sprint(got) != "[file1 file2]" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnActionSeesTheSettingsAndItsErrorStaysAsItIs(t *testing.T) {
	fault := cli.Exit("enough", 3)
	c := NewCmd(Args([]string{"--register_ttl=5"}))
	var ttl time.Duration
	c.App().Action = func(context.Context, *cli.Command) error {
		ttl = *c.Options().Settings.RegisterTTL
		return fault
	}
	if err := c.Init(); err != error(fault) || ttl != 5*time.Second {
		t.Errorf("got %v, %v", err, ttl)
	}
}

func TestCommandLinesOfOneProcessShareNothing(t *testing.T) {
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			name := fmt.Sprint("s", i)
			c := NewCmd(Args([]string{"--server_name=" + name}))
			if err := c.Init(); err != nil || *c.Options().Settings.ServerName != name {
				t.Errorf("%s: %v, %q", name, err, show(c.Options().Settings))
			}
		})
	}
	group.Wait()
}
