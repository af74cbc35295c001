# `make` alone lists the targets.

PYTHON  ?= python3
ARGS    ?=
# Two more than there are processors, because some tests wait for a process or a time limit.
WORKERS ?= $(shell expr `getconf _NPROCESSORS_ONLN` + 2)

VENV := .venv
USE_CASES := $(addprefix tests/,access audit guard http keys logs repositories results retention runs secret_files services webhooks)
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps
# The lock has every package: if pip 23 resolves, it stops at any release newer than the locked one.
LOCKED := $(PIP) --require-hashes -r

# An environment that was moved, or whose Python is gone, is rebuilt.
ifneq ($(wildcard $(VENV)),)
  ifneq ($(shell cat $(VENV)/.made 2>/dev/null && $(BIN)/python -c ''  2>/dev/null && echo works),$(CURDIR) works)
    STALE := FORCE
  endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: FORCE help run test long browser clients indirect twice faults coverage check format lint types schema bench wheel lock clean

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## start the server, by default on http://127.0.0.1:8000 with its data in ./data
	@exec $(BIN)/strongroom serve $(ARGS)

test: $(VENV)/.dev ## run the test suite without its long forms (ARGS="-k name" for a part)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not long_form' $(ARGS)

long: $(VENV)/.dev ## run the long forms of tests: more kills, more requests, CONTRIBUTING.md's nine steps
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m long_form $(ARGS)

indirect: $(VENV)/.dev ## run the HTTP tests with FastAPI's own handlers instead of direct calls
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --through-fastapi -m 'not long_form' $(ARGS) tests/http tests/access

twice: $(VENV)/.dev ## run the tests of use cases with each unit of work run twice, as after a late failure
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --units-twice -m 'not long_form' $(ARGS) $(USE_CASES)

faults: $(VENV)/.dev ## break servers under load, and check what they promised (ARGS=--help)
	@$(BIN)/python -m tests.faults $(ARGS)

coverage: $(VENV)/.dev ## run the suite, and fail below 95 % of repositories, services and database
	@$(BIN)/python -m pytest --cov --cov-report= --ignore tests/contributing $(ARGS)
	@$(BIN)/python -m coverage report --fail-under=95 \
	  --include='backend/repositories/*,backend/services/*,database/*'

check: $(VENV)/.dev lint types ## lint, type check, and the tests of the architecture and of the docs
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_docs.py tests/test_wording.py

format: $(VENV)/.dev ## format every file
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## check format and lint rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(VENV)/.dev ## type check, code and tests
	@$(BIN)/mypy

schema: $(VENV)/.dev ## write database/schema.sql, openapi.json, its part of the client and the table of rooms
	@$(BIN)/python -m database.migrator --dump-schema >database/schema.sql.new
	@mv database/schema.sql.new database/schema.sql
	@$(BIN)/python -m backend.cli.openapi >openapi.json.new
	@mv openapi.json.new openapi.json
	@$(BIN)/python -m tests.client.writing
	@$(BIN)/python -m tests.rooms

browser: $(VENV)/.browser $(VENV)/.node ## try sessions, streams and pages in the Chromium and the Node that are installed
	@$(BIN)/python -m pytest -rfE $(ARGS) tests/browser

clients: $(VENV)/.clients $(VENV)/.clients-node ## check openapi.json with linters, and generated clients in TypeScript and Python
	@$(BIN)/python -m pytest -rfE $(ARGS) tests/clients

bench: $(VENV)/.bench ## compare with what people would use instead (ARGS="--quick", ARGS=--help for all)
	@$(BIN)/python -m bench $(ARGS)

wheel: $(VENV)/.dev ## build what pip installs, and the source archive, in dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation

lock: $(VENV)/.dev ## renew the hash-pinned locks from pyproject.toml (ARGS=--upgrade for newer releases)
	@$(UV_COMPILE) $(ARGS) --output-file backend/requirements.txt
	@$(UV_COMPILE) $(ARGS) --group dev --constraints backend/requirements.txt --output-file requirements-dev.txt
	@$(UV_COMPILE) $(ARGS) --group bench --constraints backend/requirements.txt --output-file bench/requirements.txt
	@$(UV_COMPILE) $(ARGS) --group browser --constraints requirements-dev.txt --output-file tests/browser/requirements.txt
	@$(UV_LOCK) $(ARGS) --group clients --output-file tests/clients/requirements.txt
	@for folder in tests/browser tests/clients; do \
	  npm update --prefix $$folder --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund || exit 1; \
	done

clean: ## remove the environment and all caches; the data stays
	@rm -rf $(VENV) tests/browser/node_modules tests/clients/node_modules build dist htmlcov .cache .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One lock for every Python from 3.11 on, and for Linux and macOS alike.
UV_LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
UV_COMPILE = $(UV_LOCK) pyproject.toml

# Stamp files record the installed locks, so that a second run installs nothing.
$(VENV)/.made: $(STALE)
	@command -v $(PYTHON) >/dev/null || \
	  { echo "make: $(PYTHON) was not found: install Python 3.11 or newer, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1): Strongroom needs Python 3.11 or newer (make PYTHON=/path/to/python)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "make: $(PYTHON) has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) ..." >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@echo "$(CURDIR)" >$@

$(VENV)/.run: $(VENV)/.made backend/requirements.txt pyproject.toml
	@echo "Installing the packages of the server ..." >&2
	@$(LOCKED) backend/requirements.txt
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements-dev.txt pyproject.toml
	@echo "Installing the packages for development ..." >&2
	@$(LOCKED) requirements-dev.txt
	@$(PIP) --editable .
	@touch $(VENV)/.run $@

$(VENV)/.browser: $(VENV)/.dev tests/browser/requirements.txt
	@echo "Installing the packages for the tests in a browser ..." >&2
	@$(LOCKED) tests/browser/requirements.txt
	@touch $@

# Without npm the tests that need these packages are skipped, and say so.
$(VENV)/.node: $(VENV)/.made tests/browser/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing the packages for Node ..." >&2 && \
	  npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --loglevel=error >&2 && touch $@; \
	fi

# The generator of clients in Python has an environment of its own.
$(VENV)/.clients: $(VENV)/.dev tests/clients/requirements.txt
	@echo "Installing the packages for generated clients ..." >&2
	@$(BIN)/python -m venv --clear --without-pip $(VENV)/clients
	@PIP_PYTHON=$(VENV)/clients/bin/python $(LOCKED) tests/clients/requirements.txt
	@touch $@

$(VENV)/.clients-node: $(VENV)/.made tests/clients/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing the packages for Node ..." >&2 && \
	  { npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || \
	    { echo "make: npm can't install tests/clients/package-lock.json: let it reach its registry" >&2; exit 1; }; } && touch $@; \
	fi

$(VENV)/.bench: $(VENV)/.run bench/requirements.txt pyproject.toml
	@echo "Installing the packages for the benchmark ..." >&2
	@$(LOCKED) bench/requirements.txt
	@touch $@
