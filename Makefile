# Every recipe is one call of Go or of a file in scripts/.
.DEFAULT_GOAL := help
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo devel)
LINT := scripts/tools/bin/golangci-lint
NFPM := scripts/tools/bin/nfpm
# All of our code is checked for races, and what it calls but for libraries that only compute: checked,
# pictures take ten times as long to decode. It holds for the binaries that tests build, too. Of SQLite it is the part that was C: a
# generic function that is used without the detector in one library is without it everywhere, and races are reported that are none.
COMPUTE := image/... regexp/... compress/... hash/... github.com/makiuchi-d/gozxing/... github.com/skip2/go-qrcode/... github.com/klauspost/compress/... golang.org/x/crypto/... modernc.org/sqlite/lib
FLAGS := GOFLAGS='$(COMPUTE:%=-gcflags=%=-race=false)'
RACE := $(FLAGS) go test -race
# What takes longest starts first, so that nothing is left to run alone.
LONGEST := ./worker/internal/page ./supervisor/e2e ./supervisor/internal/worker ./scripts/simulator

.PHONY: help test-engines prepared packages compiled go-test kills readers thorough run demo bench chaos soak peers openapi deb test-systemd test-container build test check lint fmt gen clean FORCE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: build ## install a browser if needed, build, and start the service on 127.0.0.1:3001
	@scripts/install/browser.sh
	@exec bin/supervisor

demo: build bin/demo ## the same against the offline simulator, with a login of its own in tokens/demo
	@scripts/install/browser.sh
	@exec bin/demo $(ARGS)

chaos: build bin/chaos ## inject every fault into the real binaries and measure the cost; ARGS="--seed 7 --for 2m"
	@scripts/install/browser.sh
	@exec bin/chaos $(ARGS)

soak: build bin/chaos ## kill Chrome and the worker 500 times and check that the supervisor leaks nothing; ARGS="--cycles 40"
	@scripts/install/browser.sh
	@exec bin/chaos soak $(ARGS)

peers: ## run other programs that read WhatsApp Web, unmodified from npm, against the simulator
	@scripts/install/browser.sh
	@scripts/install/npm.sh scripts/peers
	go test -count=1 -timeout 30m -v ./scripts/peers -peers $(ARGS)

openapi: ## check openapi.yaml with redocly and spectral, and run a client that openapi-typescript makes from it
	@scripts/install/browser.sh
	@scripts/install/npm.sh scripts/openapi
	@scripts/openapi/check.sh
	go test -count=1 -timeout 10m -v ./scripts/openapi -installed

deb: build $(NFPM) ## build the Debian packages for amd64 and arm64 into bin/
	@scripts/package/build.sh

test-systemd: build $(NFPM) ## check the packages, install one on a booted Debian 12 and 13, and test it there (needs root and apt-get); ARGS="trixie"
	@scripts/package/check.sh
	@scripts/package/test-systemd.sh $(ARGS)

test-container: ## build the image, and test it in podman with Chrome's sandbox on (needs root and apt-get)
	@scripts/container/test.sh

build: bin/supervisor bin/worker ## build bin/supervisor and bin/worker

bin/supervisor: FORCE
	@CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $@ ./supervisor

bin/worker: FORCE
	@CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $@ ./worker

bench: build bin/bench ## compare with a bare Chrome and chrome-headless-shell, a bare handler, other programs from npm, and the last run; ARGS="--markdown" (15 minutes)
	@scripts/install/browser.sh
	@scripts/install/packages.sh chromium-headless-shell
	@! command -v npm >/dev/null || scripts/install/npm.sh scripts/peers
	@exec bin/bench $(ARGS)

bin/bench: FORCE
	@go build -trimpath -o $@ ./scripts/bench

bin/demo: FORCE
	@go build -trimpath -o $@ ./scripts/demo

bin/chaos: FORCE
	@go build -trimpath -o $@ ./scripts/chaos

test: ## everything that CI runs: the checks, and all tests with the race detector
	@$(MAKE) --no-print-directory -k -j1 prepared go-test # the tests run where a check fails, too

prepared: # before the tests, whose time it would take
	@$(MAKE) --no-print-directory -k -j3 packages check compiled

compiled: # the tests, and the programs that they build
	$(FLAGS) go list -export ./supervisor ./worker ./supervisor/internal/worker/testdata/fakeworker >/dev/null
	$(FLAGS) go list -race -test -export ./... >/dev/null

packages: # what the tests need besides Go
	@scripts/install/browser.sh
	-@scripts/install/packages.sh chromium-headless-shell # which Ubuntu lacks
	@scripts/install/packages.sh zbar-tools zxing-cpp-tools openssl libpcre2-8-0 curl jq python3
	@scripts/install/tool.sh nginx /usr/sbin/nginx
	@scripts/install/tool.sh tinyproxy-bin /usr/bin/tinyproxy
	@scripts/install/tool.sh prometheus /usr/bin/promtool
	@! command -v npm >/dev/null || scripts/install/npm.sh scripts/webhook
	@! command -v npm >/dev/null || scripts/install/npm.sh scripts/uitest
	@! command -v npm >/dev/null || scripts/install/npm.sh scripts/pm2

go-test: # with the race detector a process would exit a second late
	GORACE=atexit_sleep_ms=0 $(RACE) -vet=off -p 2 -shuffle=on -count=1 -timeout 30m $(LONGEST) $$(go list ./... | grep -v /scripts/deps$$) # two packages at once, each with four tests at most; check runs vet and deps

readers: ## test each reader alone on every variant of the page (4 minutes)
	go test -count=1 -timeout 30m -run TestEachReader -v ./supervisor/e2e -thorough

thorough: ## the tests that have many cases with all of them, of which make test has a sample
	$(RACE) -p 1 -count=1 -timeout 60m ./supervisor/e2e ./supervisor/internal/outbox ./supervisor/internal/profile ./supervisor/internal/webhook ./supervisor/internal/worker ./worker/internal/page -thorough

kills: ## kill the service at 200 random moments, most of them in the five seconds after a scan; no login that was on disk may be lost (30 minutes)
	$(RACE) -count=1 -timeout 90m -run TestKillsAtRandom -v ./supervisor/e2e -kills 200

test-engines: build bin/chaos ## the end-to-end tests, those of the worker, chaos and random kills with chromium, chromium-headless-shell and Debian main's older ones; ARGS="shell old" (45 minutes for each, or three hours)
	@scripts/install/packages.sh chromium chromium-headless-shell
	@scripts/engines/run.sh $(ARGS)

check: $(LINT) ## formatting, vet, linters, dependency rules, sizes and wording
	go test ./scripts/deps
	$(LINT) run ./...

$(LINT): scripts/tools/golangci-lint/go.mod scripts/tools/golangci-lint/go.sum
	cd scripts/tools/golangci-lint && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(NFPM): scripts/tools/nfpm/go.mod scripts/tools/nfpm/go.sum
	cd scripts/tools/nfpm && go build -o ../bin/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm

fmt: $(LINT) ## format the code
	$(LINT) fmt

gen: ## regenerate the gRPC code from shared/rpc/workerpb/worker.proto
	@scripts/install/packages.sh protobuf-compiler
	@scripts/gen/gen.sh

clean: ## remove what was built
	rm -rf bin scripts/tools/bin
