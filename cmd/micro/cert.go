package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/seed-9a4e2794/micro/transport/credentials"
)

func (t *tool) certCommand() *command {
	return &command{
		name: "cert", group: groupParts, args: "ca | node NAME | show FILE", min: 1, max: 2,
		summary: "make an authority and certificates for services, and show them",
		about: `
ca makes ca.pem, which everyone gets, and ca-key.pem, which nobody else gets.
node makes NAME.pem and NAME-key.pem with it. NAME is the name of the service,
the first DNS name of the certificate, and the identity that rules know it by.`,
		examples: []string{
			"micro cert ca --dir certs",
			"micro cert node greeter --dir certs --host localhost,127.0.0.1,10.0.0.7",
			"micro cert show certs/greeter.pem",
		},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Value: ".", Usage: "where the files of the authority are, and the others go"},
			&cli.StringFlag{Name: "days", Usage: "how long it is valid (ca 3650, node 365)"},
			&cli.StringFlag{Name: "name", Usage: "ca: what to call the authority (micro CA)"},
			&cli.StringFlag{Name: "host", Usage: "node: names, addresses and URIs it is reached by (localhost,127.0.0.1,::1)"},
			&cli.BoolFlag{Name: "force", Usage: "replace files that are there"},
			outputFlag(),
		},
		run: t.cert,
	}
}

// caName is the name of the files of the authority, without .pem.
const caName = "ca"

func (t *tool) cert(_ context.Context, c *cli.Command) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	verb, arg := c.Args().First(), c.Args().Get(1)
	const hint = "see micro cert --help"
	// Which flags a verb takes: one that has no effect would be a surprise.
	takes := map[string]string{"ca": "dir days name force", "node": "dir days host force", "show": "-"}[verb]
	switch {
	case takes == "":
		return usage(hint, "micro cert takes ca, node or show, not %q", verb)
	case verb == "ca" && arg != "":
		return usage("the name goes to --name; a certificate for a service: micro cert node "+arg, "micro cert ca was given %q", arg)
	case verb != "ca" && arg == "":
		return usage(hint, "micro cert %s takes one argument", verb)
	}
	for _, f := range []string{"dir", "days", "name", "host", "force"} {
		if c.IsSet(f) && !strings.Contains(" "+takes+" ", " "+f+" ") {
			return usage(hint, "micro cert %s does not take --%s", verb, f)
		}
	}
	if verb == "show" {
		return t.certShow(arg, asJSON)
	}
	validity, err := days(c.String("days"))
	if err != nil {
		return err
	}
	w := certWriter{dir: c.String("dir"), force: c.Bool("force")}
	if verb == "ca" {
		return t.certCA(w, c.String("name"), validity, asJSON)
	}
	return t.certNode(w, arg, c.String("host"), validity, asJSON)
}

// maxDays is as long as anybody will remember.
const maxDays = 36500

// days reads a number of days; nothing is 0.
func days(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxDays {
		return 0, usage("such as --days 90", "--days is %q, not a whole number from 1 to %d", text, maxDays)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

func (t *tool) certCA(w certWriter, name string, validity time.Duration, asJSON bool) error {
	if name == "" {
		name = "micro CA"
	}
	a, err := credentials.NewAuthority(name, validity)
	if err != nil {
		return err
	}
	cert, key, err := a.PEM()
	if err != nil {
		return err
	}
	if err := w.write(caName, cert, key); err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "made %s and %s: keep the second to yourself\n", w.cert(caName), w.key(caName))
	if err := t.certPrint(cert, asJSON); err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "next: micro cert node NAME%s\n", w.flag())
	return nil
}

func (t *tool) certNode(w certWriter, name, hosts string, validity time.Duration, asJSON bool) error {
	if name == caName || strings.HasSuffix(name, "-key") {
		return usage("give the service another name", "%q is taken: %s is a file of the authority or of a key", name, w.cert(name))
	}
	a, err := w.authority()
	if err != nil {
		return err
	}
	n := credentials.Node{Name: name, Validity: validity}
	for h := range strings.SplitSeq(hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			n.Hosts = append(n.Hosts, h)
		}
	}
	cert, key, err := a.Issue(n)
	if err != nil {
		return usage("see micro cert --help", "%s", strings.TrimPrefix(err.Error(), "credentials: "))
	}
	if err := w.write(name, cert, key); err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "made %s and %s\n", w.cert(name), w.key(name))
	if err := t.certPrint(cert, asJSON); err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "start the service with: --tls_cert %s --tls_key %s --tls_ca %s\n", w.cert(name), w.key(name), w.cert(caName))
	fmt.Fprintln(t.stderr, "and, to take callers with a certificate only: --tls_clients required")
	return nil
}

// certWriter knows where the files go.
type certWriter struct {
	dir   string
	force bool
}

func (w certWriter) cert(name string) string { return filepath.Join(w.dir, name+".pem") }
func (w certWriter) key(name string) string  { return filepath.Join(w.dir, name+"-key.pem") }

// flag is the flag that leads to the same folder.
func (w certWriter) flag() string {
	if w.dir == "." {
		return ""
	}
	return " --dir " + w.dir
}

// authority reads the authority of the folder.
func (w certWriter) authority() (*credentials.Authority, error) {
	var read [2][]byte
	for i, path := range []string{w.cert(caName), w.key(caName)} {
		b, err := readPEM(path)
		if err != nil {
			return nil, &failure{exit: exitFailure, what: "no authority: " + err.Error(), hints: []string{"make one: micro cert ca" + w.flag()}}
		}
		read[i] = b
	}
	a, err := credentials.ParseAuthority(read[0], read[1])
	if err != nil {
		return nil, &failure{exit: exitFailure, what: fmt.Sprintf("%s and %s: %s", w.cert(caName), w.key(caName), strings.TrimPrefix(err.Error(), "credentials: "))}
	}
	return a, nil
}

// write writes a certificate and its key, or neither.
func (w certWriter) write(name string, cert, key []byte) error {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	if !w.force {
		for _, path := range []string{w.cert(name), w.key(name)} {
			if _, err := os.Lstat(path); err == nil {
				return &failure{exit: exitFailure, what: path + " is there already", hints: []string{"replace it: --force"}}
			} else if !os.IsNotExist(err) {
				return err
			}
		}
	}
	// The key first: who reads in between finds a key that is not the
	// certificate's, and waits.
	if err := w.replace(w.key(name), key, 0o600); err != nil {
		return err
	}
	if err := w.replace(w.cert(name), cert, 0o644); err != nil {
		if !w.force {
			os.Remove(w.key(name)) // of no use without its certificate
		}
		return err
	}
	return nil
}

// replace puts a file in its place in one step, so that a service which has it
// open for its certificates never sees a part of it.
func (w certWriter) replace(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(w.dir, ".micro-cert-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // not there any more when all goes well
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
