# `make demo` and `make test` set up everything they need in .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles a module when it is first imported; of most modules that never happens.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
READY := $(VENV)/.ready
# Compiling graphs takes most of the tests' time, on one core each; a process needs about 3 GB. One more process than cores, as
# tests that start processes of their own wait for them.
EXTRAS := cli datasets docs onnx plots report review test
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo test results fuzz spark comparison docs lint format lock audit clean

demo: $(READY)
	$(BIN)/r2ad2 demo --output demo

test: $(READY) lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not benchmarks"
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not benchmarks"

# The tables in the pages that show results, from the results; `r2ad2 experiment` makes these
RESULTS := docs/results/results.csv
results: $(READY)
	$(BIN)/python -m r2ad2.experiments.pages $(RESULTS) README.md docs/comparison.md docs/forest.md

# Arbitrary input for everything that takes data from users: CASES per kind, then as many CSV files, which
# are chosen by the code they reach (docs/security.md)
CASES ?= 1000
fuzz: $(READY)
	$(PIP_INSTALL) -r requirements-fuzz.txt
	$(BIN)/python -m tests.fuzzing.run --cases $(CASES)
	$(BIN)/python -m tests.fuzzing.coverage_guided -runs=$(CASES)

# Spark is a large download, installed only on request; `make test` then includes its tests.
spark: $(READY)
	$(PIP_INSTALL) -r requirements-spark.txt

# So are the packages of the methods to compare with.
comparison: $(READY)
	$(PIP_INSTALL) -r requirements-comparison.txt

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation as web pages in site/; a broken link or a docstring that does not fit is an error.
docs: $(READY)
	$(BIN)/mkdocs build --strict

# requirements.txt: exact versions for every supported Python, from the ranges in setup.cfg, with the checksums of
# their files: pip installs nothing else
lock:
	uv pip compile --universal --python-version 3.10 $(EXTRAS:%=--extra %) --generate-hashes --no-header \
		--no-annotate --no-emit-index-url -o requirements.txt setup.cfg

# Advisories on the versions in requirements.txt (asks an online service), in an environment of its own
audit: $(READY)
	$(BIN)/python -m pip check
	test -x build/audit/bin/pip-audit || $(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt

$(READY): requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'r2ad2 needs Python 3.10 or newer: make PYTHON=/path/to/python3.x')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements.txt
	$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) demo site build dist *.egg-info
