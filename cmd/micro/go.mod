module github.com/seed-9a4e2794/micro/cmd/micro

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	connectrpc.com/grpcreflect v1.3.1
	github.com/fsnotify/fsnotify v1.10.1
	github.com/seed-9a4e2794/micro v0.0.0
	github.com/urfave/cli/v3 v3.14.0
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/sys v0.13.0 // indirect

replace github.com/seed-9a4e2794/micro => ../..
