# `make demo` and `make test` set up everything they need in .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Compiling graphs takes most of the tests' time, on one core each; a process needs about 3 GB.
PARALLEL ?= -n 2 --dist loadfile

.PHONY: demo test spark docs lint format lock clean

demo: $(READY)
	$(BIN)/r2ad2 demo --output demo

test: $(READY) lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not benchmarks"
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not benchmarks"

# Spark is a large download, so that only those who ask for it get it; then `make test` tests it, too.
spark: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-spark.txt

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation as web pages in site/; a broken link or a docstring that does not fit is an error.
docs: $(READY)
	$(BIN)/mkdocs build --strict

# requirements.txt: exact versions for every supported Python, from the ranges in setup.cfg
lock:
	uv pip compile --universal --python-version 3.10 --extra test --extra docs --no-header --no-annotate \
		--no-emit-index-url -o requirements.txt setup.cfg

$(READY): requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'r2ad2 needs Python 3.10 or newer: make PYTHON=/path/to/python3.x')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) demo site build dist *.egg-info
