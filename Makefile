# make demo: install and inspect sample pictures.    make test: what every change must pass.    make slow: the remaining tests.
# On Linux without a GPU, pass pip's options for the much smaller CPU build of torch in PIP_ARGS.

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Stamp files: the installation runs again if pyproject.toml or constraints.txt is newer.
READY := $(VENV)/.installed
READY_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: demo install install-dev test lint slow wheel clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/python examples/demo.py

install: $(READY)

install-dev: $(READY_DEV)

test: lint
	$(BIN)/python -m pytest -m "not slow and not gpu" --numprocesses logical --maxprocesses 8

lint: $(READY_DEV)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check --no-cache .
	$(BIN)/mypy

slow: $(READY_DEV)
	$(BIN)/python -m pytest -m "slow and not gpu"

wheel: $(BIN)/python
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e . -c constraints.txt
	touch $@

$(READY_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev]" -c constraints.txt
	touch $@ $(READY)
