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

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

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

.PHONY: test
test: test-rust test-py  ## set up and run all tests

.PHONY: services
services:  ## install the servers that tests start: redis-server (Debian and Ubuntu; root or sudo)
	@command -v redis-server >/dev/null || { \
		command -v apt-get >/dev/null || { echo 'no apt-get here: install redis-server yourself' >&2; exit 1; }; \
		sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
		$$sudo apt-get update --quiet; \
		$$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install --quiet --yes --no-install-recommends redis-server; }

.PHONY: test-rust
test-rust: $(VENV)/.deps  ## the tests of the Rust core
	cargo test --quiet --locked --package audiohook-audio

.PHONY: test-py
test-py: dev  ## the Python tests
	$(PY) -m pytest

.PHONY: coverage
coverage: dev  ## the branches of protocol/ that its tests take; fails below 95 %
	$(PY) -m pytest tests/protocol --cov=pipecat_genesys.protocol --cov-report=term-missing --cov-fail-under=95

.PHONY: test-wheel
test-wheel: wheel sdist  ## install the wheel and the sdist, each in a clean environment, and use them
	$(PYTHON) tests/packaging/check_dist.py dist

.PHONY: test-matrix
test-matrix: wheel  ## run the tests on every supported pipecat
	$(PYTHON) tests/packaging/matrix.py dist $(PIPECAT_VERSIONS)

.PHONY: check
check: dev  ## format, lint, types and stub, for Python and Rust
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pipecat_genesys._native
	cargo fmt --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings

# The exact version, because a linter's opinion changes between releases.
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: lint-workflows
lint-workflows: $(VENV)/.deps  ## check the GitHub workflows (needs Go)
	@test -x $(BIN)/actionlint || GOBIN=$(abspath $(BIN)) go install $(ACTIONLINT)
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet .github

.PHONY: fmt
fmt: dev  ## format everything, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt

.PHONY: bench
bench: dev  ## time us beside pipecat and soxr in one run; writes benches/results/
	$(PY) benches/run.py

.PHONY: bench-rust
bench-rust: dev  ## criterion, for the audio core alone
	cargo bench --locked --package audiohook-audio

.PHONY: wheel
wheel: $(VENV)/.deps  ## build the abi3 wheel into dist/
	$(BIN)/maturin build --release --locked --out dist

.PHONY: sdist
sdist: $(VENV)/.deps  ## build the source distribution into dist/
	$(BIN)/maturin sdist --out dist

.PHONY: clean
clean:  ## remove what the targets above made
	cargo clean --quiet
	rm -rf $(VENV) .venvs dist call.wav .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find python -name '*.so' -delete
