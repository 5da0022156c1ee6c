# Two commands do everything on a new machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
CONVENTIONS := tests/conventions

.PHONY: help demo test test-long test-cuda-wheel soak check format docs screens samples bench
.PHONY: accuracy accuracy-quick browser release-check gpu-check test-engines clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: .venv/demo ## start a slow training run, attach to it, print the diagnosis, write a report
	@$(BIN)/python -m sample_workloads.demo

# Tests start hundreds of processes, and where PYTHONDONTWRITEBYTECODE is set, each would compile
# what it imports. Two files run in parallel. Tests that compare measured times or have a time limit
# run alone, and so does a second run of the tests that failed in parallel. `-ra` in pyproject.toml
# prints every skipped test with its reason.
ALONE := tests/e2e tests/safety/test_killed_tracer.py tests/agent/test_unharmed.py
ALONE += tests/analyzer/traced/test_cpu_work.py
PARALLEL := -n 2 --dist loadfile --ignore=$(CONVENTIONS) $(ALONE:%=--ignore=%)

test: check browser ## run every check that CI runs
	$(BIN)/python -m compileall -q perfscope sample_workloads
	@tests/report_missing
	$(BIN)/python -m pytest $(PARALLEL) || { echo "running the failed tests again, alone"; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }
	$(BIN)/python -m pytest $(ALONE)

# Each long test is a program: tests/*/long_*.py.
test-long: .venv/dev ## run the long tests: fuzzers, sanitizers, a flood, all device samples (hours)
	@failed=0; for program in $(subst /,.,$(basename $(wildcard tests/*/long_*.py))); do \
	  echo "$$program"; $(BIN)/python -m $$program || failed=1; done; exit $$failed

# `===` selects the CUDA build even where pip is configured with an index of CPU builds.
test-cuda-wheel: .venv/dev ## test with the CUDA build of torch; needs no GPU, installs 5 GB
	@test -x .venv-cuda/bin/python || $(BIN)/python -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install -q --disable-pip-version-check 'torch===2.13.0' numpy
	$(BIN)/python -m pytest tests/cuda_wheel/check_cuda_wheel.py

# A second call continues the first. Options: make soak SOAK='--minutes 30', make soak SOAK=--growth
soak: .venv/dev .venv-soak/programs ## attach to twelve programs 600 times (two hours)
	$(BIN)/python -m tests.safety.soak --python .venv-soak/bin/python $(SOAK)

check: .venv/dev ## run formatter, linter, type checker, import contracts, conventions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; \
	  then echo $(BIN)/mypy; $(BIN)/mypy; \
	  else echo "SKIPPED: mypy (the stubs of numpy and pandas for Python 3.10 are too old)"; fi
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q $(CONVENTIONS)

format: .venv/dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev ## write the documentation pages that are generated from the code
	$(BIN)/python -m docs.generate

screens: .venv/dev browser ## write README's terminal screen and the pictures in docs/screens
	$(BIN)/python -m docs.make_screens

samples: .venv/dev ## attach to every sample workload, with and without its fix (half an hour)
	$(BIN)/python -m benchmarks.samples

accuracy: .venv/dev ## diagnose all cases with a known answer, and score the answers (40 minutes)
	$(BIN)/python -m benchmarks.accuracy

accuracy-quick: .venv/dev ## the same for the recordings only (a few minutes)
	$(BIN)/python -m benchmarks.accuracy --kind recording

gpu-check: .venv/demo ## try perfscope on a GPU and write a report for an issue (8 minutes)
	$(BIN)/python -m benchmarks.gpu_check

test-engines: .venv/dev ## run vLLM on a CPU in four states and diagnose it (3.4 GB, ten minutes)
	$(BIN)/python -m tests.engines.set_up_vllm
	$(BIN)/python -m pytest -q -s tests/engines/check_vllm.py

bench: .venv/dev ## measure the overhead of being attached (45 minutes, on a quiet machine)
	$(BIN)/python -m benchmarks.overhead

browser: ## install the browser for the dashboard tests (INSTALL_BROWSER=no: do not)
	@test "$(INSTALL_BROWSER)" = no || tests/install_browser

release-check: .venv/release ## build an sdist and wheels, install and try them (docs/releasing.md)
	$(BIN)/python -m tests.release.check_release

# One stamp file per environment: it is installed again only when its list of packages changes.
.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "perfscope needs Python 3.10 or newer; choose one with" \
	    "\`make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12\`"; exit 1; }
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv || \
	  { echo "no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

C_SOURCES := $(wildcard perfscope/*/*/compiled/* perfscope/agent/nvtx/*.[ch])
.venv/demo: .venv/python pyproject.toml constraints.txt $(C_SOURCES)
	@echo "installing perfscope and torch into .venv (a few minutes the first time)"
	$(INSTALL) -e '.[torch]'
	@touch $@

.venv/dev: .venv/demo
	@echo "installing the packages for development"
	$(INSTALL) -e '.[dev]'
	@touch $@

.venv/release: .venv/demo
	@echo "installing the packages for a release"
	$(INSTALL) -e '.[release]'
	@touch $@

.venv-soak/programs: tests/safety/soak/requirements.txt
	@echo "creating .venv-soak for the programs of the soak (a few minutes)"
	@$(PYTHON) -m venv .venv-soak
	.venv-soak/bin/python -m pip install --disable-pip-version-check -c constraints.txt -r $<
	@touch $@

clean: ## remove everything that was created here
	rm -rf .venv .venv-soak .soak build dist *.egg-info demo
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
