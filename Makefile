# make demo · test · lint · docs · wheel · sbom · bench · trust · accept: each sets itself up in .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
SOURCES := $(shell find csrc export python -type f ! -name '*.pyc' ! -name '*.so') CMakeLists.txt pyproject.toml

# The address of the repository, on GitHub or GitLab: the wheel's description and Project-URLs then lead there.
REPOSITORY :=

.PHONY: demo test lint docs wheel sbom bench trust accept clean

demo: $(VENV)/runtime.stamp
	$(BIN)/petrt demo --out demo_output --overwrite

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(shell find csrc tests -name '*.h' -o -name '*.cc' -o -name '*.cu')
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Containerfile; fi

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	$(BIN)/python docs/_ext/built_links.py build/docs

# For this Python, without the need of a compiler; tried in an environment of its own.
wheel: $(VENV)/release.stamp
	rm -rf dist/*.whl
	$(BIN)/python release/build_wheel.py dist $(REPOSITORY)
	$(BIN)/python release/try_wheel.py dist/*.whl build/wheel_env

sbom: wheel
	$(BIN)/cyclonedx-py environment build/wheel_env/bin/python --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o dist/petrt.cdx.json

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.quality classical model --head
	$(BIN)/python -m benchmarks.quality samplers --head --every 8
	$(BIN)/python -m benchmarks.flops
	$(BIN)/python -m benchmarks.latency --device cpu --no-compile

trust: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.trust

# make accept OLD=demo NEW=build/new_model DATA=TEST: may NEW replace OLD? The bars: benchmarks/accept/policy.toml.
accept: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.accept $(OLD) $(NEW) $(if $(DATA),--data $(DATA))

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "petrt needs Python 3.10 or newer: make PYTHON=python3.x ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' \
	  2>/dev/null || { echo "petrt needs Python's venv and headers: apt install python3-venv python3-dev" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: $(VENV)/bin/python $(SOURCES)
	$(PIP) install .
	touch $@

# torch is pinned in constraints.txt, so that a test never downloads a CUDA build by surprise.
$(VENV)/test.stamp: $(VENV)/bin/python $(SOURCES) constraints.txt
	$(PIP) install -c constraints.txt '.[train,test,lint]'
	touch $@ $(VENV)/runtime.stamp

# petrt is installed by then, so these bring the extra's packages alone.
$(VENV)/docs.stamp $(VENV)/release.stamp: $(VENV)/%.stamp: $(VENV)/runtime.stamp constraints.txt
	$(PIP) install -c constraints.txt 'petrt[$*]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo_output
