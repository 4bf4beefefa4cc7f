// Client calls the service with clients that know nothing of this framework.
//
// Run it while the service runs:
//
//	go run ./examples/everyprotocol
//	go run ./examples/everyprotocol/client
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/seed-9a4e2794/micro/registry/local"
)

func main() {
	ctx := context.Background()
	registry, err := local.New(local.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()
	services, err := registry.GetService(ctx, "everyprotocol")
	if err != nil {
		log.Fatal(err)
	}
	endpoint := "http://" + services[0].Nodes[0].Address + "/everyprotocol.Greeter/Hello"

	show("JSON", body(http.Post(endpoint, "application/json", strings.NewReader(`"Ada"`))))
	show("GET", body(http.Get(endpoint+"?message="+url.QueryEscape(`"Ada"`))))

	h2 := new(http.Protocols) // gRPC wants HTTP/2
	h2.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: h2}}
	for _, protocol := range []struct {
		name   string
		option connect.ClientOption
	}{{"Connect", connect.WithProtoJSON()}, {"gRPC", connect.WithGRPC()}, {"gRPC-Web", connect.WithGRPCWeb()}} {
		c := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](client, endpoint, protocol.option)
		rsp, err := c.CallUnary(ctx, connect.NewRequest(wrapperspb.String("Ada")))
		if err != nil {
			log.Fatal(err)
		}
		show(protocol.name, rsp.Msg.GetValue())
	}
}

func show(protocol, answer string) { fmt.Println(protocol+":", answer) }

func body(rsp *http.Response, err error) string {
	if err != nil {
		log.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		log.Fatal(err)
	}
	return string(b)
}
