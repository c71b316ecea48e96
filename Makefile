# Tidemark: build, run and test. `make help` lists the targets.

GO            ?= go
BIN           := bin
VERSION       ?= v8.5.3
COMMIT        := $(shell git rev-parse HEAD 2>/dev/null || echo None)
BRANCH        := $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null || echo None)
BUILD_TIME    := $(shell date -u '+%Y-%m-%d %H:%M:%S')
LDFLAGS       := -X 'main.releaseVersion=$(VERSION)' -X 'main.gitHash=$(COMMIT)' -X 'main.gitBranch=$(BRANCH)' -X 'main.buildTime=$(BUILD_TIME)'

# Packages that link the embedded TiDB: slow to build, so never with -race.
EMBEDDED_PKGS := ./pkg/playground/... ./cmd/cdc-playground/...
# Everything else: the engine, the API, the binaries' own code. With -race.
ENGINE_PKGS    = $$($(GO) list ./pkg/... ./api/... ./cmd/... ./test/... | grep -vE '/playground|/cdc-playground|/test/(e2e|conformance|bench|soak)')

.PHONY: help build run test unit e2e soak bench lint fmt need proto clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

build: ## put cdc, cdc-playground and cdc-consumer into bin/ (cold: up to ten minutes, packages are listed as they compile)
	@mkdir -p $(BIN)
	@scripts/build.sh cdc "$(LDFLAGS)"
	@scripts/build.sh cdc-playground "-X main.releaseVersion=$(VERSION)"
	@scripts/build.sh cdc-consumer ""

run: build ## the whole stack with a demo changefeed and a live table; Ctrl-C stops it
	$(BIN)/cdc-playground --downstream-port 4001 --demo

test: need build unit e2e ## everything a submission must pass

unit: ## unit tests, the engine under the race detector
	$(GO) test -race -timeout 20m $(ENGINE_PKGS)
	$(GO) test -timeout 20m $(EMBEDDED_PKGS)

e2e: need build ## whole-system tests against embedded clusters, TiDB and MariaDB
	$(GO) test -count=1 -timeout 10m ./test/conformance/...
	$(GO) test -count=1 -timeout 30m ./test/e2e/...

soak: need build ## long tests: millions of rows, memory bounds, large simulations; run by hand
	TIDEMARK_SIM_SEEDS=10000 TIDEMARK_SIM_LARGE=100 $(GO) test -count=1 -timeout 60m -v -run TestSimulation ./pkg/owner
	FAULT_CHANGES=1000000 $(GO) test -count=1 -timeout 60m -v -run TestFaults ./test/e2e
	$(GO) test -count=1 -timeout 120m -tags soak -v ./test/soak/...

bench: need build ## benchmarks; results belong into docs/benchmarks.md
	$(GO) run ./test/bench

lint: ## formatting, go vet, staticcheck
	@scripts/lint.sh

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

proto: ## regenerate the protobuf code (needs protoc)
	$(GO) generate ./pkg/peer/peerpb

need: ## check, and where possible install, what the tests need beyond Go
	@scripts/need.sh

clean: ## remove built files
	rm -rf $(BIN)
