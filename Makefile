# bodycam-ingest: `make demo` shows it, `make test` proves it. `make help` lists the rest.
#
# Needs Python 3.11+ with venv, make and git. Everything else comes by pip, pinned and
# hash-checked, into .venv; once that stands, nothing here needs the network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help demo quick test crash check vm vm-smoke bench run install rollback uninstall wheel \
  wheelhouse docs lock clean venv

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(STAMP)  ## the whole way with simulated cameras: no network, no root, under a minute
	$(BIN)/bodycam-ingest demo

# Twice the cores, at most four: many tests wait. WORKERS=0 runs all in one, for a debugger.
WORKERS ?= $(shell test $$(nproc) -gt 1 && echo 4 || echo 2)
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS)

quick: $(STAMP)  ## tests that need no server and no process, under a minute
	$(PYTEST) -q $(PARALLEL) -m "not (vm or crash or system or server or process or long)"

test: $(STAMP)  ## all tests but those in the virtual machine
	$(PYTEST) $(PARALLEL) -m "not vm"

crash: $(STAMP)  ## the daemon killed at every one of its durable steps: half an hour
	CRASH_EVERY=1 $(PYTEST) $(PARALLEL) -m crash tests/crash

check: $(STAMP)  ## format, lint, types, import contracts, generated docs, then all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(MAKE) --no-print-directory test

vm: $(STAMP)  ## the installed software in a virtual machine with USB cameras (as root; see CONTRIBUTING)
	$(PYTEST) -m vm tests/vm

vm-smoke: $(STAMP)  ## of that: install, a FAT32 and an exFAT camera, a pull of each, a power cut
	$(PYTEST) -m "vm and smoke" tests/vm

bench: $(STAMP)  ## this daemon against cp, sha256sum, rsync, rclone and ascmhl, side by side
	$(BIN)/python -m tests.benchmarks.acquire
	$(BIN)/python -m tests.benchmarks.beside
	$(BIN)/python -m tests.benchmarks.endtoend
	$(BIN)/python -m tests.benchmarks.growth

run: $(STAMP)  ## the daemon: make run CONFIG=path/to/config.toml
	@test -n "$(CONFIG)" || { echo "usage: make run CONFIG=path/to/config.toml" >&2; exit 2; }
	$(BIN)/bodycam-ingest --config "$(CONFIG)" run

# A dock's programs, units and rules; configuration, state and evidence are never overwritten or
# removed. A release is built beside the one that runs, tried, and put in its place by one link; the
# one before stays. DESTDIR= puts it all below another root, for packages and images. WHEEL= takes a
# wheel that was built before; WHEELHOUSE= a directory with everything, so that no network is needed.
export DESTDIR WHEEL WHEELHOUSE
install:  ## onto this machine as a dock (as root); DESTDIR= below another root
	@PYTHON="$(PYTHON)" packaging/install

rollback:  ## back to the release before, if that still fits (as root)
	@packaging/bodycam-ingest-rollback

uninstall:  ## take it off again; configuration, state and evidence stay
	@packaging/uninstall

wheel:  ## dist/*.whl
	@PYTHON="$(PYTHON)" packaging/wheel dist

wheelhouse:  ## wheelhouse/: all that `make install WHEELHOUSE=wheelhouse` needs, for docks without a network
	@PYTHON="$(PYTHON)" packaging/wheelhouse "$(or $(WHEELHOUSE),wheelhouse)"

docs: $(STAMP)  ## write the generated parts of docs/ anew
	$(BIN)/python -m docs.generate

# The lists of exact versions. They name no registry: pip takes each file from where it is set up
# to look, and refuses whatever does not have the hash that is written here.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --quiet --upgrade
lock:  ## choose the newest versions anew (needs uv on the PATH: pipx install uv)
	@command -v uv >/dev/null || { echo "uv is missing: pipx install uv" >&2; exit 2; }
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	$(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt

venv: $(STAMP)  ## .venv alone

# One make at a time; the stamp comes last, so that whatever was cut short is done again.
$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys' 2>/dev/null || \
	  { echo "there is no Python at '$(PYTHON)': install python3, or name it: make PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11 …" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv: install python3-venv" >&2; exit 2; }
	@flock $(VENV).lock $(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) \
	  PYTHON="$(PYTHON)" VENV="$(VENV)" .install

# What pip says, as a count: a line of its own for each tenth package, or one that renews itself.
define PROGRESS
/^(Collecting|Processing) / { n++; if (terminal) printf "\r\033[K  package %d of %d: %s", n, all, $$2
  else if (n % 10 == 0) printf "  package %d of %d\n", n, all; fflush() }
/^Installing / { if (terminal) printf "\r\033[K"; printf "  installing %d packages\n", n; fflush() }
/^ERROR|^WARNING/ { print }
endef
export PROGRESS

.PHONY: .install
.install:
	@if [ $(STAMP) -nt requirements/dev.txt ]; then exit 0; fi; set -eu; \
	echo "Making $(VENV), once: about 110 MB to fetch, 400 MB on disk, a minute"; \
	if [ ! -e $(STAMP) ]; then $(PYTHON) -m venv --clear $(VENV); fi; \
	terminal=0; if [ -t 1 ]; then terminal=1; fi; \
	{ $(BIN)/python -m pip install --progress-bar off --require-hashes -r requirements/dev.txt \
	  && touch $(VENV)/.fetched; } | awk -v all="$$(grep -c '^[a-z].*==' requirements/dev.txt)" \
	  -v terminal="$$terminal" "$$PROGRESS"; \
	rm $(VENV)/.fetched 2>/dev/null || { echo "Not all could be fetched: see above; run it again" >&2; exit 1; }; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .; \
	touch $(STAMP)

clean:  ## remove .venv and every cache; evidence, state and configuration are never here
	rm -rf $(VENV) $(VENV).lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache \
	  .hypothesis dist build
	find bodycam_ingest tests docs -name __pycache__ -type d -exec rm -rf {} +
