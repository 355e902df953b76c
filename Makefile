# Two commands from a fresh checkout: `make demo` and `make test`. Both create .venv with the locked versions first.
PYTHON ?= python3
MODEL ?= smollm2-135m
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow lint format types docs bench claims tiny parallelism wheel check clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("trivium needs Python 3.11 or newer, %s is %s; name another with PYTHON=..." % (sys.executable, sys.version.split()[0]) if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# What the library itself needs, then what its developers need on top; each once per change of the lock.
$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -c requirements.lock -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install -q -c requirements.lock -e '.[dev]'
	@touch $@

demo: $(VENV)/.run  ## compare decoders on a real model and leave a report page (MODEL=path or name)
	$(BIN)/trivium demo --model '$(MODEL)'

test: $(VENV)/.dev  ## the tests, under 15 minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

test-slow: $(VENV)/.dev  ## the longer tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m slow --timeout 1200

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## ruff, repairing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev  ## pyright
	$(BIN)/pyright

docs: $(VENV)/.dev  ## the site, into site/
	$(BIN)/python docs/build.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f .mkdocs.built.yml

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install -q -c requirements.lock -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench  ## speed against peers, as ratios measured side by side
	$(BIN)/python -m benchmarks

claims: $(VENV)/.dev  ## every claim with its seeds; results go to claims/results
	$(BIN)/trivium claim --all

tiny: $(VENV)/.dev  ## train the built-in model again
	$(BIN)/python -m scripts.tiny

parallelism: $(VENV)/.dev  ## count what the layouts of processes send each other, for the docs
	$(BIN)/python -m scripts.parallelism

wheel: $(VENV)/.dev  ## dist/*.whl
	$(BIN)/python -m build --wheel --outdir dist

check: test lint types docs  ## what CI runs

clean:  ## remove what make made, the virtual environment too
	rm -rf $(VENV) dist site .mkdocs.built.yml .pytest_cache .ruff_cache
