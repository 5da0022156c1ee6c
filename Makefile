# Two commands do everything on a fresh machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format docs samples bench browser clean

demo: .venv/demo ## a slow training run, attached to, diagnosed, reported
	$(BIN)/python -m sample_workloads.demo

test: check browser ## every check that CI runs
	$(BIN)/python -m pytest

check: .venv/dev ## formatter, linter, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev ## write the pages that come from the code
	$(BIN)/python -m docs.generate

samples: .venv/dev ## attach to every sample workload, ill and fixed (about half an hour)
	$(BIN)/python -m benchmarks.samples

bench: .venv/dev ## what being attached costs (about ten minutes)
	$(BIN)/python -m benchmarks.overhead

browser: .venv/dev
	@tests/install_browser

.venv/python:
	@echo "making .venv"
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo: .venv/python pyproject.toml constraints.txt
	@echo "installing perfscope and torch into .venv (a few minutes the first time)"
	$(INSTALL) -e '.[torch]'
	@touch $@

.venv/dev: .venv/demo
	@echo "installing what the checks need"
	$(INSTALL) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info demo
