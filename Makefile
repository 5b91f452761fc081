# make demo · make test · make lint · make bench: each sets itself up in .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
SOURCES := $(shell find csrc python -type f ! -name '*.pyc' ! -name '*.so') CMakeLists.txt pyproject.toml

.PHONY: demo test lint bench clean

demo: $(VENV)/runtime.stamp
	$(BIN)/petrt demo --out demo_output --overwrite

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(shell find csrc -name '*.h' -o -name '*.cc')

bench: $(VENV)/test.stamp
	$(BIN)/python benchmarks/demo_quality.py
	$(BIN)/python benchmarks/overhead.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: $(VENV)/bin/python $(SOURCES)
	$(PIP) install .
	touch $@

# torch is pinned in constraints.txt, so that a test never downloads a CUDA build by surprise.
$(VENV)/test.stamp: $(VENV)/bin/python $(SOURCES) constraints.txt
	$(PIP) install -c constraints.txt '.[train,test,lint]'
	touch $@ $(VENV)/runtime.stamp

clean:
	rm -rf $(VENV) build dist demo_output
