module github.com/seed-9a4e2794/micro

go 1.26.0

require google.golang.org/protobuf v1.36.12

require github.com/urfave/cli/v3 v3.14.0
