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

.PHONY: help demo test check vm bench run install uninstall wheel docs lock clean venv

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMP)  ## the whole way with simulated cameras: no network, no root, under a minute
	$(BIN)/bodycam-ingest demo

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## format, lint, types, import contracts, generated docs, then all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m pytest

vm: $(STAMP)  ## the installed software in a virtual machine with USB cameras (as root; see CONTRIBUTING)
	$(BIN)/python -m pytest -m vm tests/vm

bench: $(STAMP)  ## this daemon against cp, sha256sum and rsync, side by side
	$(BIN)/python -m tests.benchmarks.acquire

run: $(STAMP)  ## the daemon: make run CONFIG=path/to/config.toml
	@test -n "$(CONFIG)" || { echo "usage: make run CONFIG=path/to/config.toml" >&2; exit 2; }
	$(BIN)/bodycam-ingest --config "$(CONFIG)" run

# A dock's programs, units and rules; configuration, state and evidence are never overwritten or
# removed. DESTDIR= puts it all below another root, for packages and images. WHEEL= takes a wheel
# that was built before; without it one is built here.
OPT := /opt/bodycam-ingest
UNITS := /etc/systemd/system
install:  ## onto this machine as a dock (as root); DESTDIR= below another root
	@set -eu; wheel="$(WHEEL)"; \
	if [ -z "$$wheel" ]; then $(MAKE) --no-print-directory wheel; wheel=$$(ls -t dist/*.whl | head -n 1); fi; \
	umask 022; opt="$(DESTDIR)$(OPT)"; \
	$(PYTHON) -m venv --clear "$$opt"; \
	"$$opt/bin/python" -m pip install --quiet --no-compile --require-hashes -r requirements/run.txt; \
	"$$opt/bin/python" -m pip install --quiet --no-compile --no-deps --no-index "$$wheel"; \
	"$$opt/bin/python" -m compileall -q -s "$(DESTDIR)" "$$opt/lib"; \
	if [ -n "$(DESTDIR)" ]; then \
	  grep -lI "^#!$(DESTDIR)$(OPT)/" "$$opt"/bin/* | xargs sed -i "1s|^#!$(DESTDIR)|#!|"; \
	  sed -i "s|$(DESTDIR)$(OPT)|$(OPT)|" "$$opt"/bin/activate* "$$opt"/bin/Activate.ps1 "$$opt"/pyvenv.cfg; \
	fi
	install -D -m 0755 systemd/bodycam-mount "$(DESTDIR)$(OPT)/libexec/bodycam-mount"
	install -d "$(DESTDIR)$(OPT)/share/doc" && install -m 0644 docs/*.md "$(DESTDIR)$(OPT)/share/doc"
	install -D -m 0644 config.example.toml "$(DESTDIR)$(OPT)/share/config.example.toml"
	install -D -m 0644 systemd/90-bodycam-ingest.rules "$(DESTDIR)$(OPT)/share/90-bodycam-ingest.rules"
	install -d "$(DESTDIR)/usr/local/bin" && \
	  ln -sfn $(OPT)/bin/bodycam-ingest "$(DESTDIR)/usr/local/bin/bodycam-ingest"
	install -D -m 0644 -t "$(DESTDIR)$(UNITS)" \
	  systemd/bodycam-ingest.service systemd/bodycam-mount@.service
	install -D -m 0644 systemd/90-bodycam-ingest.rules \
	  "$(DESTDIR)/etc/udev/rules.d/90-bodycam-ingest.rules"
	install -D -m 0644 systemd/bodycam-ingest.sysusers "$(DESTDIR)/etc/sysusers.d/bodycam-ingest.conf"
	install -D -m 0644 systemd/bodycam-ingest.tmpfiles "$(DESTDIR)/etc/tmpfiles.d/bodycam-ingest.conf"
	install -d -m 0750 "$(DESTDIR)/etc/bodycam-ingest"
	@config="$(DESTDIR)/etc/bodycam-ingest/config.toml"; \
	if [ ! -e "$$config" ]; then \
	  sed -e 's|^#source = "folder"|source = "usb"|' \
	    -e 's|^mount_roots = .*|mount_roots = ["/run/bodycam-ingest/volumes"]|' \
	    config.example.toml >"$$config.new" && chmod 0640 "$$config.new" && mv "$$config.new" "$$config"; \
	fi
	@if [ -z "$(DESTDIR)" ]; then set -eu; \
	  systemd-sysusers bodycam-ingest.conf; \
	  if [ -d /run/systemd/system ]; then systemd-tmpfiles --create bodycam-ingest.conf; \
	    systemctl daemon-reload; udevadm control --reload; fi; \
	  echo "Next: /etc/bodycam-ingest/config.toml, then docs/operations.md, First start"; \
	fi

uninstall:  ## take it off again; configuration, state and evidence stay
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	  systemctl disable --now bodycam-ingest.service || true; \
	  systemctl stop 'bodycam-mount@*.service' || true; fi
	rm -rf "$(DESTDIR)$(OPT)"
	rm -f "$(DESTDIR)/usr/local/bin/bodycam-ingest" "$(DESTDIR)$(UNITS)/bodycam-ingest.service" \
	  "$(DESTDIR)$(UNITS)/bodycam-mount@.service" \
	  "$(DESTDIR)/etc/udev/rules.d/90-bodycam-ingest.rules" \
	  "$(DESTDIR)/etc/sysusers.d/bodycam-ingest.conf" "$(DESTDIR)/etc/tmpfiles.d/bodycam-ingest.conf"
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	  systemctl daemon-reload; udevadm control --reload; fi

wheel: $(STAMP)  ## dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index -w dist .

docs: $(STAMP)  ## write the generated parts of docs/ anew
	$(BIN)/python -m docs.generate

# The lists of exact versions. They name no registry: pip takes each file from where it is set up
# to look, and refuses whatever does not have the hash that is written here.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --quiet --upgrade pyproject.toml
lock:  ## choose the newest versions anew (needs uv on the PATH: pipx install uv)
	@command -v uv >/dev/null || { echo "uv is missing: pipx install uv" >&2; exit 2; }
	$(LOCK) -o requirements/run.txt
	$(LOCK) --group dev -o requirements/dev.txt

venv: $(STAMP)  ## .venv alone

# One make at a time; the stamp comes last, so that whatever was cut short is done again.
$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11 …" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv: install python3-venv" >&2; exit 2; }
	flock $(VENV).lock $(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) \
	  PYTHON="$(PYTHON)" VENV="$(VENV)" .install

.PHONY: .install
.install:
	@if [ $(STAMP) -nt requirements/dev.txt ]; then exit 0; fi; set -eu; \
	echo "Making $(VENV) from requirements/dev.txt (a minute, once)"; \
	if [ ! -e $(STAMP) ]; then $(PYTHON) -m venv --clear $(VENV); fi; \
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .; \
	touch $(STAMP)

clean:  ## remove .venv and every cache; evidence, state and configuration are never here
	rm -rf $(VENV) $(VENV).lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache \
	  .hypothesis dist build
	find bodycam_ingest tests docs -name __pycache__ -type d -exec rm -rf {} +
