# Everything happens in .venv, which the first command makes. A stamp there says which set of packages is installed, and
# for which pyproject.toml.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo test lint lab bench clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
JOBS ?= 2
PYTEST ?= -q

# The first Python that is new enough and can make environments.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	command -v $$name >/dev/null && \
	$$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	{ echo $$name; break; }; done)

help:
	@echo "make demo    run notebooks/quickstart.ipynb headlessly, print its timelines and results"
	@echo "make test    format, lint, types, and all tests"
	@echo "make lab     open JupyterLab on notebooks/"
	@echo "make bench   measure speed, print JSON"
	@echo "make clean   remove the environment and everything that can be made again"

demo: $(VENV)/.demo
	@$(BIN)/flowkernel run notebooks/quickstart.ipynb

test: lint
	@if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing chromium for the browser tests ..."; \
			(apt-get update && apt-get install --yes --no-install-recommends chromium) >$(VENV)/chromium.log 2>&1 \
				|| echo "Could not install chromium (see $(VENV)/chromium.log): the browser tests will be skipped."; \
		else \
			echo "No chromium or google-chrome found: the browser tests will be skipped."; \
		fi; \
	fi
	@$(BIN)/python -m pytest -n $(JOBS) $(PYTEST)

lint: $(VENV)/.test
	@echo "ruff format"; $(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@echo "ruff check"; $(BIN)/ruff check --quiet .
	@echo "pyright"; $(BIN)/pyright

lab: $(VENV)/.lab
	@$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(VENV)/.demo
	@$(BIN)/flowkernel bench

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info artifacts notebooks/.flowkernel notebooks/*.out.ipynb
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or later with venv was found. Install it (Debian: apt install python3 python3-venv),"; \
		echo "or name one: make PYTHON=/path/to/python3.11"; exit 1; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing flowkernel and what the quickstart needs ..."
	@$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.lab: pyproject.toml | $(BIN)/python
	@echo "Installing flowkernel and JupyterLab ..."
	@$(PIP) install --editable '.[demo,lab]'
	@touch $@ $(VENV)/.demo

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing flowkernel and what its tests need ..."
	@$(PIP) install --editable '.[test]'
	@touch $@ $(VENV)/.demo $(VENV)/.lab
