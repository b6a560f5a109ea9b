# make help explains the targets. Tools are pinned here or in the go.mod next to what
# needs them; what is missing is installed by name (go, npm, apt-get).

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Modules of their own, so that their dependencies don't become the library's.
MODULES := $(patsubst %/go.mod,%,$(wildcard conformance/go.mod bench/go.mod examples/go.mod))

.DEFAULT_GOAL := help
.PHONY: help build test test-long lint fmt generate bench judges fuzz unit web

help: ## explain each target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build everything; the command goes to bin/sluice
	go build ./...
	go build -o bin/sluice ./cmd/sluice
	@for m in $(MODULES); do (cd $$m && go build ./...) || exit 1; done

test: ## all that .ci/run runs: lint, tests with the race detector, those of web, 3 s per fuzz target, the outside judges
	@.ci/fetch $(MODULES) &
	@$(MAKE) --no-print-directory -j2 --output-sync lint web
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory fuzz
	@$(MAKE) --no-print-directory judges

unit: ## go test -race of the module
	@.ci/need gcc make certutil=libnss3-tools update-ca-certificates=ca-certificates
	@# More at a time than processors, because many wait; go vet is lint's.
	go test -race -vet=off -p 4 -timeout 300s ./...
	@# The race detector allocates, and is too slow for what one goroutine does much of.
	go test -vet=off -run 'TestAllocations|TestModel|TestEncoder|TestProxy|TestDirections|TestStorm' . ./client ./internal/h2 ./internal/backend ./internal/wire/duplex
	go test -vet=off ./internal/transcode ./internal/wire/websocket

web: ## the TypeScript of web/: format, lint, types, unit tests
	@.ci/need node=nodejs npm
	@# npm writes that file last; a lock that is newer has changed since.
	@test web/node_modules/.package-lock.json -nt web/package-lock.json || npm --prefix web ci --ignore-scripts --no-audit --no-fund
	npm --prefix web run lint
	npm --prefix web test

test-long: ## hours: test, and what is too long for it; the result goes to docs/test-results.md
	@.ci/long

fuzz: ## 3 s per fuzz target
	@.ci/fuzz 3s

judges: ## outside judges: conformance suites, interop, h2spec, floods, real clients, validators
	@.ci/need node=nodejs npm chromium firefox-esr curl haproxy nginx=nginx-light certutil=libnss3-tools
	@# Not from the cache: go test does not see that the command has changed. Tests that measure run one after the
	@# other; the rest wait for browsers most of their time, so three of those.
	cd conformance && go test -vet=off -parallel=3 -count=1 -timeout 1200s ./...

lint: ## gofmt, go vet, staticcheck, in every module
	@test -z "$$(gofmt -l .)" || { echo "make fmt would change:"; gofmt -l .; exit 1; }
	@for m in . $(MODULES); do (cd $$m && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done
	@echo "lint: ok"

fmt: ## format the Go code
	gofmt -w .

generate: ## remake generated files
	go generate ./...

bench: ## the table of docs/benchmarks.md; takes long, wants a quiet machine
	@.ci/need haproxy nginx=nginx-light
	cd bench && go run .
