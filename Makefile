# Everything a person or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# No index is named in a lock: it is the installer's business where packages come from.
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@echo "ComputePool. First: 'make demo' (see it work) and 'make test' (prove it works)."
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: venv
venv: $(STAMP) ## Create .venv with the pinned dependencies

.PHONY: control-plane
control-plane: $(STAMP) ## Find, download or build the test control plane's binaries (DOWNLOAD=0 never downloads, DOWNLOAD=1 never builds)
	$(BIN)/python -m e2e binaries

.PHONY: demo
demo: control-plane ## Watch a primary run out, a standby fail, and all pods come home (KEEP=1 leaves the cluster up)
	$(BIN)/python -m e2e.demo

.PHONY: test
test: test-unit control-plane ## Every test, unit to end-to-end
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/e2e

.PHONY: test-unit
test-unit: $(STAMP) ## The tests that need no control plane (under a minute)
	$(BIN)/pytest -n auto --dist worksteal tests/unit

.PHONY: check
check: $(STAMP) ## Lint, types, layers, and whether generated files are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=operator $(BIN)/lint-imports
	$(BIN)/python -m tools.generate --check
	$(BIN)/python -m tools.release check
	$(BIN)/zizmor --offline --quiet --persona pedantic .github

.PHONY: plugin
plugin: $(STAMP) ## Build the kubectl plugin for this machine into dist/, as an archive for krew
	$(BIN)/python -m tools.release plugin --out dist

.PHONY: generate
generate: $(STAMP) ## Write the CRD, the chart's copies and the API reference
	$(BIN)/python -m tools.generate

.PHONY: lock
lock: $(STAMP) ## Resolve the dependencies anew, for development, for the image and for the kubectl plugin
	$(LOCK) --upgrade --extra dev -o requirements.lock pyproject.toml
	$(LOCK) -c requirements.lock -o requirements-runtime.lock pyproject.toml
	$(LOCK) -c requirements.lock --extra plugin -o requirements-plugin.lock pyproject.toml

.PHONY: bench
bench: control-plane ## Measure burst latency, list and decide() beside bare scripts
	$(BIN)/python -m e2e.bench

.PHONY: bench-failover
bench-failover: control-plane ## Lose a whole provider, with the operator and without (ten minutes)
	$(BIN)/python -m e2e.bench.lost

.PHONY: soak
soak: control-plane ## Random faults for SOAK_MINUTES=20, with all invariants watched (SOAK_SEED=... to play one again)
	$(BIN)/python -m e2e.soak

.PHONY: clean
clean: ## Remove what was built here (the cache of binaries stays)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
