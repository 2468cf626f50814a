# Works on a bare machine: python3 (3.11 or newer, with venv) is enough; Java and Maven add the tests on a real broker.
# Everything it makes is in .venv and .cache; repeated runs do only what changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
LIBS := $(CURDIR)/.cache/kafka-libs
export VIRTUAL_ENV := $(VENV)
export UV_SYSTEM_CERTS := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

# uv is quick; pip is the one that knows a machine's own pip settings
INSTALL = install() { $(BIN)/uv pip install -q "$$@" || $(BIN)/pip install -q "$$@"; }; install

LOCK = $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help demo test test-long bench lint jars systemd servers prometheus lock clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

demo: $(STAMPS)/app  ## install into .venv and run the demo (needs no Kafka)
	@$(BIN)/supervisor demo $(ARGS)

test: lint jars systemd servers prometheus  ## lint, types, tests on a real broker; ARGS go to pytest
	$(BIN)/pytest $(ARGS)

test-long: lint jars systemd servers prometheus  ## the same with full figures
	$(BIN)/pytest --long $(ARGS)

bench: $(STAMPS)/dev jars  ## all benchmarks, short: some seven minutes
	for name in $$($(BIN)/python -m bench | cut -d' ' -f1); do $(BIN)/python -m bench $$name --quick --json; done

lint: $(STAMPS)/dev  ## ruff, mypy, import-linter, and DESIGN.md's map
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/docs/test_map.py

jars: $(STAMPS)/dev  ## fetch the broker of the tests from Maven Central
	@PYTHON=$(BIN)/python tests/broker/fetch $(LIBS)

systemd:  ## see that there is a systemd for the unit's tests
	@tests/systemd/fetch

servers:  ## see that there are the servers that stores are tested on
	@tests/servers/fetch

prometheus:  ## see that there are a Prometheus and an Alertmanager for the rules' tests
	@tests/metrics/fetch

lock: $(STAMPS)/build  ## pin the newest allowed versions
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt

clean:  ## remove everything made here
	rm -rf .venv .cache dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/build: requirements/build.txt
	@echo "installing into .venv: the first time this takes a while" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/build.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/app: $(STAMPS)/build requirements/runtime.txt pyproject.toml
	@$(INSTALL) --require-hashes -r requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/build requirements/dev.txt pyproject.toml
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@ $(STAMPS)/app
