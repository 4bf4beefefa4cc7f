// Command conformanceserver is a service that the Connect project's conformance
// suite tests: https://github.com/connectrpc/conformance/blob/main/docs/testing_servers.md
//
// The suite's runner starts it for each configuration. It reads on standard
// input what to serve, says on standard output where it listens, and ends at
// SIGTERM. Its argument is the folder with the suite's .proto files.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seed-9a4e2794/micro"
	brokermemory "github.com/seed-9a4e2794/micro/broker/memory"
	"github.com/seed-9a4e2794/micro/registry/memory"
	"github.com/seed-9a4e2794/micro/transport/http"
	"github.com/seed-9a4e2794/micro/transport/port"
)

// maxOrder bounds what the runner may say, in bytes.
const maxOrder = 1 << 20

func main() {
	if err := run(os.Args, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformanceserver:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: conformanceserver <folder with connectrpc/conformance/v1/*.proto>")
	}
	if err := loadSchema(context.Background(), args[1]); err != nil {
		return err
	}
	order := newMessage("ServerCompatRequest")
	if err := readDelimited(in, order); err != nil {
		return fmt.Errorf("reading what to serve: %w", err)
	}
	limit := int(order.Get(field(order, "message_receive_limit")).Uint()) // 0: the default
	cfg := port.Config{HTTP: http.Config{MaxMessage: limit}}
	var cert []byte
	if order.Get(field(order, "use_tls")).Bool() {
		conf, pem, err := tlsConfig(order)
		if err != nil {
			return err
		}
		cert = pem
		cfg.ServerTLS = func() *tls.Config { return conf }
	}
	service := micro.NewService(
		micro.Name("connectrpc.conformance.v1"),
		micro.Address("127.0.0.1:0"),
		micro.Registry(memory.New()),
		micro.Broker(brokermemory.New()),
		micro.Transport(port.New(cfg)),
		micro.Logger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		micro.Args(nil),
	)
	if err := register(service); err != nil {
		return err
	}
	err := service.Init(micro.AfterStart(func() error {
		return answer(out, service.Server().Options().Address, cert)
	}))
	if err != nil {
		return err
	}
	return service.Run()
}

// tlsConfig returns what the runner orders for TLS, and the certificate that it
// wants to hear of.
func tlsConfig(order protoreflect.Message) (*tls.Config, []byte, error) {
	creds := order.Get(field(order, "server_creds")).Message()
	certPEM, keyPEM := creds.Get(field(creds, "cert")).Bytes(), creds.Get(field(creds, "key")).Bytes()
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("the runner's certificate: %w", err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}}
	if ca := order.Get(field(order, "client_tls_cert")).Bytes(); len(ca) > 0 {
		conf.ClientAuth = tls.RequireAndVerifyClientCert
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(ca) {
			return nil, nil, errors.New("the runner's client certificate is no PEM")
		}
	}
	return conf, certPEM, nil
}

// answer says where the service listens.
func answer(out io.Writer, addr string, cert []byte) error {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return err
	}
	rsp := newMessage("ServerCompatResponse")
	rsp.Set(field(rsp, "host"), protoreflect.ValueOfString(host))
	rsp.Set(field(rsp, "port"), protoreflect.ValueOfUint32(uint32(n)))
	if len(cert) > 0 {
		rsp.Set(field(rsp, "pem_cert"), protoreflect.ValueOfBytes(cert))
	}
	b, err := proto.Marshal(rsp.Interface())
	if err != nil {
		return err
	}
	_, err = out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readDelimited reads a message behind its length.
func readDelimited(in io.Reader, m protoreflect.Message) error {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxOrder {
		return fmt.Errorf("a message of %d bytes, at most %d are taken", n, maxOrder)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return err
	}
	return proto.Unmarshal(b, m.Interface())
}
