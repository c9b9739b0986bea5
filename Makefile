# Switchboard. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONDONTWRITEBYTECODE ?=

include hack/cluster/cluster.mk
include hack/demo/demo.mk

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@echo "==> Python environment in $(VENV) (about a minute the first time)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: venv
venv: $(VENV)/.installed ## Make the Python environment from the hashed lock file

.PHONY: generate
generate: venv ## Write the generated files: protos, CRDs, reference
	$(PY) hack/generate_protos.py
	$(PY) hack/check_compatibility.py --update
	$(PY) hack/generate_crds.py
	$(PY) hack/generate_chart_docs.py

.PHONY: fmt
fmt: venv ## Format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

.PHONY: check
check: venv ## Lint, types, import contracts, generated files, unit tests (about a minute)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) hack/generate_protos.py --check
	$(PY) hack/check_compatibility.py
	$(PY) hack/generate_crds.py --check
	$(PY) hack/generate_chart_docs.py --check
	$(PY) -m pytest -q tests/unit

.PHONY: compile
compile: venv ## Compile the message path into build/compiled (mypyc; needs gcc and Python's headers, else it says so)
	$(PY) hack/compile.py build/compiled

# What a test replaces inside a compiled module cannot be replaced: those tests are marked `interpreted`
.PHONY: test-compiled
test-compiled: compile ## Unit tests of the message path on its compiled modules (minutes; not part of `make test`)
	@if test -d build/compiled; then PYTHONPATH=$(CURDIR)/build/compiled $(PY) -m pytest -q -m "not interpreted" \
	  tests/unit/project/test_compiled.py $(addprefix tests/unit/,wire routing gateway sidecar sdk); fi

.PHONY: test-integration
test-integration: venv ## Tests on a real API server, without root (minutes; the first time its programs are built)
	$(PY) -m pytest -q tests/integration -m "not long"

.PHONY: test-integration-long
test-integration-long: venv
	$(PY) -m pytest -q tests/integration -m long

.PHONY: test-explore
test-explore: venv
	HYPOTHESIS_PROFILE=explore $(PY) -m pytest -q tests/unit

test-long: test-explore test-integration-long

.PHONY: test
test: check test-integration ## Everything that a change must pass: check, integration, journeys on the cluster
	@if [ "$$(id -u)" = 0 ] || [ "$${CLUSTER:-}" = current ] || docker info >/dev/null 2>&1; then \
	  $(MAKE) --no-print-directory test-journeys; \
	else \
	  echo "The journeys were NOT run: they need root, a Docker engine, or CLUSTER=current with a cluster of yours."; \
	  test -z "$${CI:-}" || exit 1; \
	fi

# The images' Python is Debian's, which is built with optimizations that many a python3 lacks: a fifth of the path's time.
# Where there is such a one that can make environments, the benchmarks run in it; elsewhere in $(PYTHON).
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; print(sys.version_info >= (3, 11) and sys.executable or "")' 2>/dev/null)
BENCH_VENV := build/bench/venv
BENCH_PY := $(BENCH_VENV)/bin/python

$(BENCH_VENV)/.installed: requirements/dev.txt pyproject.toml
	@echo "==> Python environment of the benchmarks in $(BENCH_VENV) (about a minute the first time)"
	@$(or $(BENCH_PYTHON),$(PYTHON)) -m venv --clear $(BENCH_VENV)
	@$(BENCH_PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BENCH_PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# As in the images, the message path is compiled; COMPILED=no measures it interpreted. Each table says which it was.
COMPILED ?= yes
BENCH_COMPILED := $(CURDIR)/build/bench/compiled
.PHONY: bench-compiled
bench-compiled: $(BENCH_VENV)/.installed
	@if test $(COMPILED) = yes; then PYTHONPATH= $(BENCH_PY) hack/compile.py $(BENCH_COMPILED); fi
bench soak: export PYTHONPATH := $(if $(filter yes,$(COMPILED)),$(BENCH_COMPILED))

BENCH ?=
.PHONY: bench
bench: bench-compiled ## Benchmarks, each beside its baselines (10 minutes on an idle machine; BENCH=--quick: to see that all runs)
	$(BENCH_PY) -m bench.message_path $(BENCH)
	$(BENCH_PY) -m bench.baselines $(BENCH)
	$(BENCH_PY) -m bench.latency $(BENCH)
	$(BENCH_PY) -m bench.shells $(BENCH)
	$(BENCH_PY) -m bench.faults $(BENCH)
	@echo "python -m bench.record puts these tables into docs/performance.md"

MINUTES ?= 20
.PHONY: soak
soak: bench-compiled ## Load the message path for MINUTES (20): memory, its growth, processor time
	$(BENCH_PY) -m bench.soak --minutes $(MINUTES)

.PHONY: bench-control-plane
bench-control-plane: $(BENCH_VENV)/.installed ## Thousands of agents and pods on a real API server (15 minutes on an idle machine; BENCH=--quick: 2)
	PYTHONPATH=hack/cluster $(BENCH_PY) -m bench.control_plane $(BENCH)

.PHONY: fuzz
fuzz: venv ## Search inputs that break frames and REST, guided by coverage (FUZZ_SECONDS=60 for each of 7 targets)
	$(PY) tests/fuzz --seconds $(or $(FUZZ_SECONDS),60)

.PHONY: simulate
simulate: venv ## Simulate every balancing strategy with the gateway's own code (half a minute)
	$(PY) -m bench.simulate
