# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
BIN := $(VENV)/bin
DEMO ?= demo
TESTS ?=

.PHONY: help setup demo test lint docs benchmark clean

help:
	@echo "make demo   train a teacher and four students on digits, audit them, write a page"
	@echo "make test   run all tests      make lint   linters, format and types"
	@echo "make docs   build the guide    make clean  remove what these made"

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python examples/demo.py --out $(DEMO)

# One torch thread a process: small networks are slower on several, and the processes share the cores already.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site
