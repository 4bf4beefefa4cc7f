package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

func (t *tool) versionCommand() *command {
	return &command{
		name: "version", group: groupSelf,
		summary:  "print the version of this tool",
		examples: []string{"micro version", "micro version -o json"},
		flags:    []cli.Flag{outputFlag()},
		run:      t.version,
	}
}

// build is what the binary says of itself.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Time     string `json:"time"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (t *tool) version(_ context.Context, c *cli.Command) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	b := thisBuild()
	if asJSON {
		return t.printJSON(b)
	}
	fmt.Fprintf(t.stdout, "micro %s", b.Version)
	if b.Commit != "" {
		fmt.Fprintf(t.stdout, "  commit %.12s", b.Commit)
		if b.Modified {
			fmt.Fprint(t.stdout, " modified")
		}
	}
	fmt.Fprintf(t.stdout, "  %s  %s\n", b.Go, b.Platform)
	return nil
}
