# make help lists what there is.
SHELL := /bin/bash
GO ?= go
BIN := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/zeekrec/zeekrec/cmd/internal/cli.version=$(VERSION)
# The go command leaves testdata out of ./..., so the stand-in for Zeek and the comparisons are named.
PACKAGES := ./... ./testdata/zeek/... ./testdata/brokerbench/... ./testdata/archivebench/... ./cmd/testdata/fleetbench/...
# golangci-lint is run from its module, at the version that the configuration was written for.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
DEMO_STATE ?= $(CURDIR)/$(BIN)/demo-state

.PHONY: help build standin demo test race fuzz bench bench-broker bench-archive bench-fleet lint e2e e2e-git test-hosts test-systemd acceptance table arrows package clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## bin/zeekrec, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/zeekrec ./cmd/zeekrec

standin: ## bin/zeek-standin, the stand-in for Zeek that tests and the demonstration use without one
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/zeek-standin ./testdata/zeek

demo: build standin ## run examples/quickstart in the foreground; Ctrl-C stops it
	@scripts/demo $(BIN) $(DEMO_STATE)

test: ## all tests, with the race detector; builds what they need
	scripts/test $(PACKAGES)

fuzz: ## every fuzz target for FUZZTIME (default 20s) each, or those that FUZZ matches; the hours add up in testdata/fuzzing.tsv
	scripts/fuzz $(or $(FUZZTIME),20s) $(FUZZ)

bench: ## the benchmarks of planning and reconciling
	$(GO) test -run '^$$' -bench . -benchmem ./reconciler/...

bench-broker: build ## the broker beside libzmq's proxy on one load; ARGS=--quick for less (testdata/brokerbench)
	testdata/brokerbench/build $(BIN)/bench
	$(GO) build -o $(BIN)/bench/brokerbench ./testdata/brokerbench
	$(BIN)/bench/brokerbench --bin $(BIN)/bench --zeekrec $(BIN)/zeekrec $(ARGS)

bench-fleet: ## one controller with 1,000 simulated agents of 50 nodes each, some minutes; ARGS=--check to compare with the bounds (cmd/testdata/fleetbench)
	$(GO) build -o $(BIN)/bench/fleetbench ./cmd/testdata/fleetbench
	$(BIN)/bench/fleetbench $(ARGS)

bench-archive: build ## the archiver beside zeek-archiver (or GNU gzip) on 300 MB of conn logs; ARGS=-mb=50 for less (testdata/archivebench)
	$(GO) run ./testdata/archivebench -zeekrec $(BIN)/zeekrec $(ARGS)

e2e: build standin ## the long proof, but for the table and several hosts: with a real Zeek where there is one, and by the clock
	ZEEKREC_E2E=1 $(GO) test -count=1 -timeout 60m -v -run 'TestE2E|TestArchiveKilled' -skip 'TestE2ETable|TestE2EHosts' ./cmd/zeekrec

test-hosts: ## the long proof over several hosts, as network namespaces (root, ip): partitions, loss, delay, wrong clocks, a hundred kills
	ZEEKREC_E2E=1 $(GO) test -count=1 -timeout 100m -v -run 'TestHosts|TestE2EHosts|TestE2ERivals' ./cmd/zeekrec

test-systemd: ## the long proof with the real systemd as PID 1 in namespaces (root, systemd, dbus): scopes, limits, shutdown
	ZEEKREC_E2E=1 $(GO) test -count=1 -timeout 30m -v -run 'TestSystemd|TestMachine' ./cmd/zeekrec ./cmd/internal/systemdtest

table: ## try every row of the table of minimal restarts with Zeek, and write desired/MINIMAL.md
	ZEEKREC_E2E=1 $(GO) test -count=1 -timeout 40m -v -run 'TestE2ETable' ./cmd/zeekrec -update-table

e2e-git: ## the long proof of the Git source: 500 pushes, kill -9 a hundred times, 2 GB, NAME/ with real Zeek
	ZEEKREC_E2E=1 $(GO) test -count=1 -timeout 60m -v -run 'TestGitE2E' ./cmd/zeekrec

acceptance: build ## Zeek's own test suite of the management framework, SUITE=folder, TESTS="NAME…" (testdata/clustersuite)
	testdata/clustersuite/run $(BIN) $(SUITE) $(TESTS)

lint: ## golangci-lint, gofmt and go vet
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet $(PACKAGES)
	$(GO) run $(GOLANGCI) run

package: ## bin/packages: a deb and an rpm with units, settings, man pages and completions; GOARCH=arm64 for another machine
	GO='$(GO)' packaging/build $(BIN)/packages '$(VERSION)'

clean: ## remove what was built
	rm -rf $(BIN)
