# Tasks of the project; README explains them. They need Python 3.11 or newer and make, nothing else.
# Another Python: make up PYTHON=/path/to/python3.12

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
CODE := accounts automations billing config benchmarks tests manage.py
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes
COMPILE := $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header
PYTHON ?=

.PHONY: up test lint types tests bench fuzz lock clean
.DEFAULT_GOAL := up

up: $(VENV)/.installed
	@exec $(PY) manage.py up

test: lint types tests

lint: $(VENV)/.installed-dev
	@$(PY) -m ruff check --quiet $(CODE)
	@$(PY) -m ruff format --check --quiet $(CODE)

types: $(VENV)/.installed-dev
	@ONWARD_DEBUG=1 $(PY) -m mypy $(CODE)

tests: $(VENV)/.installed-dev
	@$(PY) -m pytest --numprocesses auto --maxprocesses 4

bench: $(VENV)/.installed-dev
	@$(MAKE) --silent $(VENV)/.installed-bench || echo "DBOS cannot be installed; the tables will say so." >&2
	@$(PY) -m benchmarks $(W)

# The long forms; each prints its start value, and takes one: FUZZ="--seed 7".
fuzz: $(VENV)/.installed-dev config/requirements-fuzz.lock
	@$(PIP) -r config/requirements-fuzz.lock
	@for part in yaml expressions templates; do $(PY) -m tests.fuzz.guided $$part $(FUZZ) || exit 1; done
	@for part in readers rest services; do $(PY) -m tests.fuzz.long $$part $(FUZZ) || exit 1; done

lock: $(VENV)/.installed-dev
	@$(COMPILE) config/requirements-dev.in -o config/requirements-dev.lock
	@$(COMPILE) --constraint config/requirements-dev.lock config/requirements.in -o config/requirements.lock
	@$(COMPILE) --constraint config/requirements-dev.lock config/requirements-bench.in -o config/requirements-bench.lock
	@! grep -n '://' config/requirements.lock config/requirements-dev.lock config/requirements-bench.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis staticfiles static/build
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The first Python on this machine that is new enough; a clear word where there is none.
$(PY):
	@for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14 python); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			"$$candidate" -m venv $(VENV) && exit 0; \
			echo "Python can make no virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; \
			rm -rf $(VENV); exit 1; \
		fi; \
	done; \
	echo "Onward needs Python 3.11 or newer. Found: $$($(or $(PYTHON),python3) --version 2>&1 | tail -n 1)." >&2; \
	echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	exit 1

$(VENV)/.installed: config/requirements.lock | $(PY)
	@echo "Installing packages into $(VENV)"
	@$(PIP) -r config/requirements.lock
	@touch $@

$(VENV)/.installed-dev: config/requirements-dev.lock $(VENV)/.installed
	@$(PIP) -r config/requirements-dev.lock
	@touch $@

$(VENV)/.installed-bench: config/requirements-bench.lock $(VENV)/.installed-dev
	@$(PIP) -r config/requirements-bench.lock
	@touch $@
