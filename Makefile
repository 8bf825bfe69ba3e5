# `make` alone lists the targets. Every target does its own set-up: Python >= 3.11 is all a machine needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SEED   ?= 1

.PHONY: help demo test check bench chaos clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Driftline needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Driftline and its development tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## real Kafka and Valkey, 100,000 real purchases, drifts and pushes explained (ARGS="--stay" keeps it up)
	@$(BIN)/driftline demo $(ARGS)

test: $(READY) ## every test, on real servers (ARGS="-k name" selects)
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY) ## what a reviewer runs first: format, lint, types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

bench: $(READY) ## throughput to committed state, beside the tutorial way and the ceiling
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

chaos: $(READY) ## the long exactly-once run (SEED=n)
	@$(BIN)/python -m tests.chaos --seed $(SEED) $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
