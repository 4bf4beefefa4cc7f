package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/cmd/micro/internal/lookup"
)

// tool is one run of the command line.
type tool struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	commands       []*command
}

// command is one verb of the tool.
type command struct {
	name     string
	aliases  []string
	group    string
	summary  string // for the list of commands
	args     string // for the usage line
	about    string // what help says beyond the summary
	examples []string
	flags    []cli.Flag
	min, max int // how many arguments; max -1 is any number
	run      func(ctx context.Context, c *cli.Command) error
}

// The groups of commands, in the order of help.
const (
	groupBuild = "Build"
	groupLook  = "Look"
	groupUse   = "Use"
	groupParts = "Parts"
	groupSelf  = "Self"
)

// run runs the tool and returns its exit code. Data goes to stdout, everything
// else to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{stdin: stdin, stdout: stdout, stderr: stderr}
	t.commands = []*command{
		t.runCommand(), t.listCommand(), t.getCommand(), t.healthCommand(), t.statsCommand(),
		t.callCommand(), t.streamCommand(), t.publishCommand(), t.subscribeCommand(),
		t.registerCommand(), t.deregisterCommand(), t.certCommand(), t.versionCommand(),
	}
	err := t.start(ctx, args)
	if err == nil {
		return exitOK
	}
	f := asFailure(err)
	t.report(f)
	return f.exit
}

// report prints a failure.
func (t *tool) report(f *failure) {
	label := "error:"
	if colours(t.stderr) {
		label = "\x1b[31merror:\x1b[0m"
	}
	fmt.Fprintln(t.stderr, label, f.what)
	for _, h := range f.hints {
		fmt.Fprintln(t.stderr, "  "+h)
	}
}

// start finds the command and runs it.
func (t *tool) start(ctx context.Context, args []string) error {
	if len(args) == 0 {
		t.help(t.stdout)
		return nil
	}
	if c, asked, err := t.helpAsked(args); err != nil {
		return err
	} else if asked {
		if c == nil {
			t.help(t.stdout)
		} else {
			t.helpOf(t.stdout, c)
		}
		return nil
	}
	app := &cli.Command{
		Name: "micro", DisableSliceFlagSeparator: true, HideHelp: true, HideHelpCommand: true, HideVersion: true,
		Flags: commonFlags(), Writer: t.stdout, ErrWriter: t.stderr,
		OnUsageError:   usageError,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // it would end the process
		Action: func(_ context.Context, c *cli.Command) error {
			if c.NArg() == 0 {
				t.help(t.stdout)
				return nil
			}
			return t.unknownCommand(c.Args().First())
		},
	}
	for _, c := range t.commands {
		app.Commands = append(app.Commands, t.build(c))
	}
	return app.Run(ctx, append([]string{"micro"}, args...))
}

// build makes the library's form of a command.
func (t *tool) build(c *command) *cli.Command {
	return &cli.Command{
		Name: c.name, Aliases: c.aliases, Flags: c.flags, DisableSliceFlagSeparator: true, HideHelp: true, HideHelpCommand: true,
		OnUsageError: usageError,
		Action: func(ctx context.Context, cc *cli.Command) error {
			if n := cc.NArg(); n < c.min || c.max >= 0 && n > c.max {
				said := "nothing"
				if n > 0 {
					said = quoted(cc.Args().Slice())
				}
				return usage("see micro "+c.name+" --help", "micro %s takes %s, and was given %s", c.name, orNothing(c.args), said)
			}
			return c.run(ctx, cc)
		},
	}
}

func orNothing(args string) string {
	if args == "" {
		return "no arguments"
	}
	return args
}

func quoted(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%q", a)
	}
	return b.String()
}

func (t *tool) unknownCommand(name string) error {
	var names []string
	for _, c := range t.commands {
		names = append(names, c.name)
	}
	f := missing(fmt.Sprintf("no command %q", name), name, names, "")
	f.exit = exitUsage
	return f
}

// find returns the command of that name.
func (t *tool) find(name string) *command {
	for _, c := range t.commands {
		if c.name == name {
			return c
		}
		for _, a := range c.aliases {
			if a == name {
				return c
			}
		}
	}
	return nil
}

// usageError turns what the library says of the command line into a failure.
func usageError(_ context.Context, c *cli.Command, err error, _ bool) error {
	hint := "see micro --help"
	if c.Name != "micro" {
		hint = "see micro " + c.Name + " --help"
	}
	if what, is := strings.CutPrefix(err.Error(), "invalid value "); is {
		value, rest, _ := strings.Cut(what, " for flag -")
		name, why, _ := strings.Cut(rest, ": ")
		if len(name) > 1 {
			name = "-" + name
		}
		return usage(hint, "-%s is %s: %s", name, value, why)
	}
	name, isFlag := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !isFlag {
		return usage(hint, "%s", err)
	}
	var names []string
	for _, set := range [][]cli.Flag{c.Flags, c.Root().Flags} {
		for _, f := range set {
			names = append(names, f.Names()[0])
		}
	}
	if near := lookup.Nearest(name, names); near != "" {
		hint = "did you mean --" + near + "?   " + hint
	}
	return usage(hint, "no flag --%s", strings.TrimLeft(name, "-"))
}

// commonFlags are the flags of every command.
func commonFlags() []cli.Flag {
	text := func(name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Sources: cli.EnvVars("MICRO_" + strings.ToUpper(name))}
	}
	return []cli.Flag{
		text("registry", "where services are found: local, static ..."),
		text("registry_address", "its addresses, with commas between"),
		text("broker", "what carries events: direct ..."),
		text("broker_address", "its addresses, with commas between"),
		text("transport", "what carries calls: port (every protocol), tcp ..."),
		text("transport_address", "its addresses, with commas between"),
		text("tls_ca", "file of the authorities to trust instead of the system's (PEM); turns TLS on"),
		text("tls_cert", "file of the tool's certificate (PEM), for services that ask callers for one"),
		text("tls_key", "file of its private key (PEM)"),
		&cli.BoolFlag{Name: "debug", Usage: "log what the tool does to stderr"},
	}
}

// logger returns where the parts of the tool log: warnings, and with --debug
// everything.
func (t *tool) logger(c *cli.Command) *slog.Logger {
	level := slog.LevelWarn
	if c.Bool("debug") {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(t.stderr, &slog.HandlerOptions{Level: level}))
}

// defaultTimeout bounds a command that asks others.
const defaultTimeout = 5 * time.Second

func timeoutFlag() cli.Flag {
	return &timeFlag{Name: "timeout", Value: defaultTimeout, Usage: "how long to wait"}
}

// within returns a context that ends with the command's time.
func within(ctx context.Context, c *cli.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.Duration("timeout"))
}

// readArgument returns an argument that may stand for a file or for stdin:
// @file or -.
func (t *tool) readArgument(arg string) ([]byte, error) {
	var in io.Reader
	switch {
	case arg == "-":
		in = t.stdin
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, usage("@FILE reads the JSON from a file", "%v", err)
		}
		defer f.Close()
		in = f
	default:
		return []byte(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", arg, err)
	case len(b) > maxInput:
		return nil, usage("", "%s has more than %d MiB", arg, maxInput>>20)
	case len(bytes.TrimSpace(b)) == 0:
		return nil, errors.New("read " + arg + ": there is nothing in it")
	}
	return b, nil
}

// maxInput is the largest message that is read from a file or stdin, in bytes.
const maxInput = 16 << 20
