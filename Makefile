# `make demo` and `make test` need Python >= 3.11, git and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

# CPU=1 takes PyTorch's build without CUDA from PyTorch's own index: 1.4 GiB in all instead of 6.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.PHONY: demo test test-all check docs release-check install clean

# What slstt needs; enough for the demo.
.venv/.runtime: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "slstt needs Python >= 3.11; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
ifdef CPU
	$(BIN)/python -m pip install --quiet --no-compile torch torchvision --index-url $(TORCH_INDEX)
endif
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	touch $@

# What the tests and the checks need as well.
install: .venv/.installed
.venv/.installed: .venv/.runtime
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/.runtime
	$(BIN)/slstt-demo

test: install
	$(BIN)/python -m pytest -n 2 -m 'not slow and not cluster'

test-all: test
	$(BIN)/python -m pytest -n 2 -m slow
	$(BIN)/python -m pytest -m cluster

check: docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

release-check: install
	$(BIN)/python -m pip install --quiet build twine uv
	$(BIN)/python scripts/release_check.py --dist dist

# The site; it needs no network. To read it: python3 -m http.server --directory site
docs: install
	$(DOCS) build --strict

clean:
	rm -rf .venv demo site
