module github.com/seed-9a4e2794/micro/examples

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	github.com/seed-9a4e2794/micro v0.0.0-00010101000000-000000000000
	google.golang.org/protobuf v1.36.12
)

require (
	connectrpc.com/grpcreflect v1.3.1 // indirect
	github.com/urfave/cli/v3 v3.14.0 // indirect
)

replace github.com/seed-9a4e2794/micro => ../
