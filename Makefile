# Works from a clean clone with nothing but Python (3.11 or newer), pip and make.
#
#   make demo        a video from text, in a few minutes
#   make test        linters, types, layers and tests
#   make test-slow   what takes minutes: builds, kills, memory
#
# On Linux the default PyTorch brings gigabytes of CUDA. Without a GPU:
#
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
# Processes that share the tests, with one thread each: networks this small gain nothing from two.
WORKERS ?= 2
PROMPT ?= a corgi surfing
OUT ?= out.mp4

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q -c constraints.txt

.PHONY: help demo test test-slow check dev docs bench clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '3,5p'

$(VENV)/.made:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "fdream needs Python 3.11 or newer; make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch comes first and alone, so that TORCH_INDEX serves no other package.
$(VENV)/.torch: $(VENV)/.made constraints.txt
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

# The plugins are installed as their users install them, so that their tests are real.
$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	$(PIP) -e '.[dev,prep,eval]'
	$(PIP) --no-deps $(patsubst %,-e ./%,$(patsubst %/,%,$(wildcard plugins/*/)))
	@touch $@ $(VENV)/.installed

# Half a gigabyte that one slow test wants.
$(VENV)/.installed-ray: $(VENV)/.installed-dev
	$(PIP) -e '.[ray]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/fdream t2v "$(PROMPT)" -o "$(OUT)"
	@echo "The video is in $(abspath $(OUT))"

dev: $(VENV)/.installed-dev
	@echo "Activate it with: . $(BIN)/activate"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests plugins

test-slow: $(VENV)/.installed-ray
	$(BIN)/python -m pytest -q tests -m "slow and not gpu" --timeout 1800

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/quote_scores.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/startup.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
