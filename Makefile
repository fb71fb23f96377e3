# Targets are thin: each names one command. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv is much faster than pip; where it cannot reach the package index as pip is set up to, pip does the work.
UV := $(BIN)/python -m uv pip install --quiet --system-certs --python $(BIN)/python
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help quickstart test check bench lock clean upstream shown-ledgers shown-receipts shown-history shown-governance \
	shown-failover shown-canaries shown-sdk shown-simulation shown-recovery shown-shares shown-quickstart \
	shown-bad-input shown-healing shown-lasting shown-corruption shown-fuzz shown-stalls

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(VENV)/runtime: requirements.lock pyproject.toml dataplane/js/_memory.c
	$(PYTHON) -m venv $(VENV)
	$(PIP) uv==0.13.9
	$(UV) --require-hashes -r requirements.lock || $(PIP) --require-hashes -r requirements.lock
	$(UV) --no-deps --editable . || $(PIP) --no-deps --editable .
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/runtime
	$(UV) --require-hashes -r requirements-dev.lock || $(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

quickstart: $(VENV)/runtime ## set up, start the control plane, create an instance and use it
	@$(BIN)/python -m samples.quickstart

check: $(VENV)/dev ## format, lint, types and import rules
	$(BIN)/ruff format --check controlplane dataplane migrations tests samples
	$(BIN)/ruff check controlplane dataplane migrations tests samples
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## set up and pass the tests
	$(BIN)/pytest -m "not full" -n 2 --dist loadfile

bench: $(VENV)/dev ## print the benchmark table
	$(BIN)/python -m tests.bench

shown-ledgers: $(VENV)/dev ## 5,000 transactions with a failover: public readers accept every ledger
	$(BIN)/python -m tests.shown.ledgers

shown-lasting: $(VENV)/dev ## 100,000 transactions over snapshots, rekeys, retirements and two recoveries
	$(BIN)/python -m tests.shown.lasting

shown-receipts: $(VENV)/dev ## 1,000 receipts and 10,000 mutants, judged by us and by the public package
	$(BIN)/python -m tests.shown.receipts

shown-history: $(VENV)/dev ## states and receipts of every age over rekeys and recoveries; flipped bytes tell nothing false
	$(BIN)/python -m tests.shown.history

shown-governance: $(VENV)/dev ## a governance round trip signed by the public tool
	$(BIN)/python -m tests.shown.governance

shown-failover: $(VENV)/dev ## the primary killed 20 times under load
	$(BIN)/python -m tests.shown.failover

shown-healing: $(VENV)/dev ## the primary of a managed instance killed 20 times under load
	$(BIN)/python -m tests.shown.healing

shown-canaries: $(VENV)/dev ## 100 private values, found nowhere
	$(BIN)/python -m tests.shown.canaries

shown-recovery: $(VENV)/dev ## real CCF services recovered, their state judged by a straight replay
	$(BIN)/python -m tests.shown.recovery

shown-shares: $(VENV)/dev ## k-1 shares recover nothing, k everything, in 100 random consortia
	$(BIN)/python -m tests.shown.shares

shown-simulation: $(VENV)/dev ## 1,000 seeds of the simulated cluster, and the mutants it must catch
	$(BIN)/python -m tests.simulation.run --seeds 1000 --save simulation
	$(BIN)/pytest -q tests/mutants

shown-sdk: $(VENV)/dev ## the unpatched Azure SDK against real nodes
	$(BIN)/python -m tests.shown.sdk

shown-quickstart: $(VENV)/dev ## the quickstart from clean clones, five times
	$(BIN)/python -m tests.shown.quickstart

shown-bad-input: $(VENV)/dev ## bad input to node and control plane, Schemathesis on the ARM contract
	$(BIN)/python -m tests.shown.bad_input

upstream: $(VENV)/dev ## TREE=<checkout of CCF> [NAMES=...]: CCF's own end-to-end scripts drive our executable
	$(BIN)/python -m tests.upstream $(TREE) $(NAMES)

shown-corruption: $(VENV)/dev ## 1,000 wrong bytes in a ledger of 5,000 transactions, each found and located
	$(BIN)/python -m tests.shown.corruption

shown-fuzz: $(VENV)/dev ## a million mutants against every parser (COUNT=..., SEED=...)
	$(BIN)/python -m tests.shown.fuzz $(COUNT) $(SEED)

shown-stalls: $(VENV)/dev ## the longest silence between nodes under scripts, signatures, slow disks, snapshots, governance
	$(BIN)/python -m tests.shown.stalls

lock: $(VENV)/dev ## pin the dependencies again
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml -o requirements.lock
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml --group dev -o requirements-dev.lock

clean: ## remove what the targets made
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis
