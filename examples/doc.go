// Package examples holds programs that show how services are written. Each
// folder is one example: its main.go is the service, the main.go beneath it the
// program that calls it or publishes to it. The first lines of each main.go say
// how to run it; nothing else has to run.
//
//   - greeter: a service with one endpoint, and a caller
//   - pubsub: subscribers of a topic, and a publisher
//   - stream: the three kinds of streams
//   - typed: the same without interfaces to fill: functions, types checked by
//     the compiler
//   - function: a service that serves one request and ends
//   - everyprotocol: one service, called by HTTP, Connect, gRPC and gRPC-Web
//     clients that know nothing of this framework
//   - wrapper: what is done around every call and event
//
// The tests of this package build all of them, run them as processes, and look
// at what they print.
package examples
