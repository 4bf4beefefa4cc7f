package main

import (
	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/config/backend"
)

// backends is every backend that this tool has: what --registry, --broker and
// --transport choose from.
func backends() backend.List {
	return micro.BuiltinBackends()
}
