# Targets are thin: each names one command. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help quickstart test check bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(VENV)/runtime: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) --require-hashes -r requirements.lock
	$(UV) --no-deps --editable .
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/runtime
	$(UV) --require-hashes -r requirements-dev.lock
	@touch $@

quickstart: $(VENV)/runtime ## set up, start the control plane, create an instance and use it
	@$(BIN)/python -m samples.quickstart

check: $(VENV)/dev ## format, lint, types and import rules
	$(BIN)/ruff format --check controlplane dataplane migrations tests samples
	$(BIN)/ruff check controlplane dataplane migrations tests samples
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## set up and pass the tests
	$(BIN)/pytest -m "not full" -n 2 --dist loadgroup

bench: $(VENV)/dev ## print the benchmark table
	$(BIN)/python -m tests.bench

clean: ## remove what the targets made
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis
