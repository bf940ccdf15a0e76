# SPDX-License-Identifier: GPL-2.0-only
# What a user runs. Every target installs what it needs first.
ARGS ?=
PYTHON := .venv/bin/python
# some tests wait, so that two processors serve three workers
SHARED := -n 3 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install doctor run-matrix smoke nightly mutants races torture test unit check format clean distclean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo "  ARGS=... goes on to the command: make run-matrix ARGS='--only trylock'"

install:  ## install what is missing: packages (root), .venv, QEMU 8.1 or newer
	@./bootstrap

doctor:  ## say what this machine lacks and the command that mends it
	@./bootstrap check

run-matrix: install  ## judge every variant of configs/matrix.yaml
	@$(PYTHON) harness.py run-matrix $(ARGS)

smoke: install  ## stock, nolock and trylock, two boots each
	@$(PYTHON) harness.py run-matrix configs/smoke.yaml $(ARGS)

nightly: install  ## newest sources, configs/nightly.yaml, what changed since the last good nightly run
	@$(PYTHON) harness.py nightly $(ARGS)

mutants: install  ## the harness on trial: broken exclusions to catch, correct ones to pass
	@$(PYTHON) harness.py run-matrix configs/mutants.yaml --as-expected $(ARGS)

races: install  ## real races of the kernel's past, each with its fix and without: races/
	@$(PYTHON) harness.py races $(ARGS)

torture: install  ## every fault on purpose: kills, full disks, damaged files; what was lost
	@$(PYTHON) -m tests.torture $(ARGS)

test: install check  ## format, types, unit tests, then real builds and boots
	@$(PYTHON) -m pytest $(SHARED) $(ARGS)
	@$(PYTHON) -m pytest --boot -m boot $(ARGS)

unit: install  ## the tests that boot nothing, on two processors
	@$(PYTHON) -m pytest $(SHARED) $(ARGS)

check: install  ## format, lint and types
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy

format: install  ## rewrite the sources in the project's format
	@$(PYTHON) -m ruff format .

clean:  ## remove caches of the tools in this directory; results/ and the build cache stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean  ## and the virtual environment, and every cached source and build
	@if [ -x $(PYTHON) ]; then $(PYTHON) harness.py gc --all; fi
	@rm -rf .venv
