package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"
)

// helpAsked reports whether the arguments ask for help, and of which command:
// nil is of the whole tool.
func (t *tool) helpAsked(args []string) (*command, bool, error) {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	if len(args) == 0 {
		return nil, false, nil
	}
	if args[0] == "help" {
		if len(args) == 1 {
			return nil, true, nil
		}
		if c := t.find(args[1]); c != nil {
			return c, true, nil
		}
		return nil, false, t.unknownCommand(args[1])
	}
	if !slices.Contains(args, "--help") && !slices.Contains(args, "-h") {
		return nil, false, nil
	}
	for _, a := range args {
		if c := t.find(a); c != nil {
			return c, true, nil
		}
	}
	return nil, true, nil
}

// help prints the commands.
func (t *tool) help(out io.Writer) {
	fmt.Fprint(out, "micro runs services, shows them, and calls them.\n\nUsage: micro COMMAND [ARGUMENTS] [--FLAGS]\n")
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	group := ""
	for _, c := range t.commands {
		if c.group != group {
			group = c.group
			fmt.Fprintf(w, "\n%s\n", group)
		}
		fmt.Fprintf(w, "  %s\t%s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nFlags of every command, and their variables (MICRO_REGISTRY ...)\n")
	printFlags(w, commonFlags())
	w.Flush()
	fmt.Fprint(out, `
Examples
  micro run ./greeter                   build, start, reload on change
  micro list                            what runs on this machine
  micro call greeter hello name=Ada     call an endpoint

micro COMMAND --help says more.
`)
}

// helpOf prints the help of one command.
func (t *tool) helpOf(out io.Writer, c *command) {
	fmt.Fprintf(out, "%s\n\nUsage: micro %s", sentence(c.summary), c.name)
	if c.args != "" {
		fmt.Fprintf(out, " %s", c.args)
	}
	fmt.Fprintln(out)
	if len(c.aliases) > 0 {
		fmt.Fprintf(out, "Also:  micro %s\n", strings.Join(c.aliases, ", micro "))
	}
	if c.about != "" {
		fmt.Fprintf(out, "\n%s\n", strings.TrimSpace(c.about))
	}
	if len(c.flags) > 0 {
		fmt.Fprintln(out, "\nFlags")
		w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
		printFlags(w, c.flags)
		w.Flush()
	}
	fmt.Fprintln(out, "\nExamples")
	for _, e := range c.examples {
		fmt.Fprintf(out, "  %s\n", e)
	}
	fmt.Fprintln(out, "\nmicro --help lists the flags that every command has.")
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func printFlags(w io.Writer, flags []cli.Flag) {
	for _, f := range flags {
		names := f.Names()
		text := "--" + names[0]
		for _, n := range names[1:] {
			text = "-" + n + ", " + text
		}
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		if doc.TakesValue() {
			text += " " + placeholder(doc)
		}
		about := doc.GetUsage()
		if v := doc.GetValue(); v != "" && doc.TakesValue() && v != "[]" {
			about += " (" + v + ")"
		}
		fmt.Fprintf(w, "  %s\t%s\n", text, about)
	}
}

// placeholder is what stands for the value of a flag.
func placeholder(f cli.DocGenerationFlag) string {
	switch f.(type) {
	case *timeFlag:
		return "TIME"
	case *cli.StringSliceFlag:
		return "KEY=VALUE"
	}
	return "VALUE"
}
