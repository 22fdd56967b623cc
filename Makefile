# `make demo` and `make test` need Python >= 3.11, git and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all check release-check install clean

install: .venv/.installed
.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "slstt needs Python >= 3.11; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/slstt-demo

test: install
	$(BIN)/python -m pytest -n 2 -m 'not slow and not cluster'

test-all: test
	$(BIN)/python -m pytest -n 2 -m slow
	$(BIN)/python -m pytest -m cluster

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

release-check: install
	$(BIN)/python -m pip install --quiet build twine uv
	$(BIN)/python scripts/release_check.py --dist dist

clean:
	rm -rf .venv demo
