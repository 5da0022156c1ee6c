# Two commands do everything on a fresh machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-long test-cuda-wheel soak check format docs screens samples bench browser clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: .venv/demo ## a slow training run, attached to, diagnosed, reported
	@$(BIN)/python -m sample_workloads.demo

# Two files at a time. What compares measured times, or has a time limit, has the machine to itself, and so has
# what failed beside others.
ALONE := tests/e2e tests/safety/test_killed_tracer.py tests/agent/test_unharmed.py tests/analyzer/traced/test_cpu_work.py

test: check browser ## every check that CI runs
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/house $(ALONE:%=--ignore=%) || \
	  { echo "what failed runs again, alone"; $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }
	$(BIN)/python -m pytest $(ALONE)

# Each long run is a program of its own: tests/safety/long_*.py.
test-long: .venv/dev ## the long safety tests: fuzzers, sanitizers, a flood; some hours
	@failed=0; for program in $(notdir $(basename $(wildcard tests/safety/long_*.py))); do \
	  echo "$$program"; $(BIN)/python -m tests.safety.$$program || failed=1; done; exit $$failed

# `===` takes the build with CUDA also where pip knows an index that has one for CPUs.
test-cuda-wheel: .venv/dev ## windows with the CUDA build of torch; no GPU needed, installs 5 GB into .venv-cuda
	@test -x .venv-cuda/bin/python || $(BIN)/python -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install -q --disable-pip-version-check 'torch===2.13.0' numpy
	$(BIN)/python -m pytest tests/cuda_wheel/check_cuda_wheel.py

# Run again, it goes on where it stopped. Options: make soak SOAK='--minutes 30', make soak SOAK=--growth
soak: .venv/dev .venv-soak/programs ## attach to twelve programs 600 times and check that none is harmed (two hours)
	$(BIN)/python -m tests.safety.soak --python .venv-soak/bin/python $(SOAK)

check: .venv/dev ## formatter, linter, types, layers, house rules: the quick part
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo $(BIN)/mypy; $(BIN)/mypy; \
	  else echo "NOTE: types not checked: the stubs that numpy and pandas have for Python 3.10 are older"; fi
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/house

format: .venv/dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev ## write the pages that come from the code
	$(BIN)/python -m docs.generate

screens: .venv/dev browser ## write README's terminal screen and the pictures in docs/screens, from a real run
	$(BIN)/python -m docs.make_screens

samples: .venv/dev ## attach to every sample workload, ill and fixed (about half an hour)
	$(BIN)/python -m benchmarks.samples

bench: .venv/dev ## what being attached costs (three quarters of an hour, on a quiet machine)
	$(BIN)/python -m benchmarks.overhead

browser: ## what the browser tests need
	@tests/install_browser

# A stamp file each, so that what is installed is not installed again until its list changes.
.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "perfscope needs Python 3.10 or newer; name one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12"; exit 1; }
	@echo "making .venv"
	@$(PYTHON) -m venv .venv || { echo "no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

.venv/demo: .venv/python pyproject.toml constraints.txt $(wildcard perfscope/*/*/compiled/* perfscope/agent/nvtx/*.[ch])
	@echo "installing perfscope and torch into .venv (a few minutes the first time)"
	$(INSTALL) -e '.[torch]'
	@touch $@

.venv/dev: .venv/demo
	@echo "installing what the checks need"
	$(INSTALL) -e '.[dev]'
	@touch $@

.venv-soak/programs: tests/safety/soak/requirements.txt
	@echo "making .venv-soak for the soak's programs (a few minutes)"
	@$(PYTHON) -m venv .venv-soak
	.venv-soak/bin/python -m pip install --disable-pip-version-check -c constraints.txt -r $<
	@touch $@

clean: ## away with everything that was made here
	rm -rf .venv .venv-soak .soak build dist *.egg-info demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
