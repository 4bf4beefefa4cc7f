# What CI runs is .ci/run; the targets here are its parts, for the hand.

# staticcheck runs all its checks but these:
#   ST1003  wants ID for Id: the fields of Error, Node and others keep the names
#           that go-micro v1 gave them, because programs use those.
CHECKS := all,-ST1003

.PHONY: help build test race lint staticcheck fuzz bench deps ci full

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: ## compile every module of the workspace
	go build work

test: ## run the tests of every module
	go test work

race: ## the same under the race detector, short forms
	.ci/run race

lint: ## gofmt, go vet, tidy go.mod files, staticcheck
	.ci/run format vet tidy lint

# go tool cannot be used with -modfile inside a workspace; -n names the built
# program, which then sees the workspace like any other.
staticcheck:
	@tool=$$(GOWORK=off go tool -modfile=tools.mod -n staticcheck) && \
	for dir in $$(go list -m -f '{{.Dir}}'); do \
		echo "staticcheck -checks $(CHECKS) in $$dir" && \
		(cd "$$dir" && "$$tool" -checks '$(CHECKS)' ./...) || exit 1; \
	done

fuzz: ## every fuzz target for a minute; FUZZTIME=5s for less
	FUZZTIME=$${FUZZTIME:-60s} .ci/run fuzz

bench: ## every benchmark, long enough to compare
	go test -run '^$$' -bench . -benchmem work

deps: ## write deps.txt anew
	go test -run TestDepsTxt -update .

ci: ## all that CI runs
	.ci/run

full: ## the same in the long forms: no -short, a minute for each fuzz target
	FULL=1 .ci/run
