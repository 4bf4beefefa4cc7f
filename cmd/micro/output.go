package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "table or json"}
}

// bodyFlag is the output flag of commands that print messages.
func bodyFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "json", Usage: "json; messages are printed as they are"}
}

// wantsBody checks --output of commands that print messages.
func wantsBody(c *cli.Command) error {
	if v := c.String("output"); v != "json" {
		return usage("available: json", "no output format %q", v)
	}
	return nil
}

// wantsJSON reads --output.
func wantsJSON(c *cli.Command) (bool, error) {
	switch v := c.String("output"); v {
	case "table":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, usage("available: table, json", "no output format %q", v)
	}
}

// printJSON prints v indented.
func (t *tool) printJSON(v any) error {
	enc := json.NewEncoder(t.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows in columns; the first is the heading. Trailing blanks are
// cut off.
func table(out io.Writer, rows [][]string) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// terminal reports whether a stream is one that a person looks at.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// colours reports whether to colour what goes to a stream: see no-color.org.
func colours(stream any) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminal(stream)
}

// clip shortens a list of names to a column of a table.
func clip(names []string, width int) string {
	text := strings.Join(names, ", ")
	if len(text) <= width {
		return text
	}
	n, used := 0, 0
	for n < len(names) && used+len(names[n])+2 <= width-len("+99 more") {
		used += len(names[n]) + 2
		n++
	}
	if n == 0 {
		return fmt.Sprintf("%d endpoints", len(names))
	}
	return fmt.Sprintf("%s, +%d more", strings.Join(names[:n], ", "), len(names)-n)
}
