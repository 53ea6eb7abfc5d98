# `make train` and `make test` set everything up by themselves in .venv; nothing is reinstalled until
# pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A folder of wheels that pip is configured with, if any (a CPU build of torch, say); uv does not look there itself.
WHEELS := $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
FIND_LINKS := $(if $(WHEELS),--find-links $(WHEELS))

.DEFAULT_GOAL := help
.PHONY: help setup train test test-quick lint format bench lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## Create .venv with the exact versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(FIND_LINKS) --compile-bytecode -c constraints.txt -e '.[dev,sweep,spark,reports]'
	@touch $(READY)

train: $(READY) ## Train EMER on the simulated log and print its table
	$(BIN)/python train.py

test: $(READY) ## All tests (those of pages in a browser need an installed Chromium)
	$(BIN)/python -m pytest -n auto --dist worksteal

test-quick: $(READY) ## The tests that take seconds
	$(BIN)/python -m pytest -n auto -m 'not slow and not e2e'

lint: $(READY) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Put the code into house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure losses and metrics, into benchmarks/RESULTS.md (some ten minutes)
	$(BIN)/python benchmarks/run.py

lock: $(READY) ## Renew constraints.txt from pyproject.toml
	@{ echo '# Exact versions that work together, installed with `-c constraints.txt` by `make setup`.'; \
	   echo '# Made from pyproject.toml by `make lock`.'; \
	   echo 'torch==2.13.0' | $(BIN)/uv pip compile --quiet pyproject.toml --extra dev --extra sweep --extra spark --extra reports $(FIND_LINKS) \
	     -c /dev/stdin --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	     | sed 's/+cpu//'; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt

clean: ## Remove .venv and caches; outputs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache dist build
