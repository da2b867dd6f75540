# The front door. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
MINDNLP := .venv-mindnlp
MSPROBE := .venv-msprobe
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN_ARGS ?=
DTYPES := --dtype fp32 --dtype fp16 --dtype bf16 --dtype ascend-mixed
BENCH_ARGS ?=

.PHONY: help setup parity nightly generation selftest test test-slow check format bench-port bench-mindnlp msprobe-env bench-compare bench-harness prune fixtures gates figures screenshots update-gold lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Make the virtual environment .venv with the locked dependencies

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else \
	  "error: Python 3.10, 3.11 or 3.12 is needed, this is %d.%d; name one: make setup PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# The reference's video processor is made of torchvision, whose wheel breaks `import
	@# transformers` beside a CPU build of torch: it stays out of the environment's own packages.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
	  --target $(VENV)/torchvision-only torchvision==0.28.0
	@touch $@

parity: $(READY) ## Compare the port with the reference on every case; write reports/latest/index.html
	$(BIN)/python -m parity run $(DTYPES) $(RUN_ARGS)

nightly: $(READY) ## Run a whole night here: every dtype, mode and size, from checks to issue text
	$(BIN)/python -m parity nightly run $(RUN_ARGS)

generation: $(READY) ## Compare 64 greedy tokens of every case with the reference's, in three dtypes
	$(BIN)/python -m parity generation $(RUN_ARGS)

selftest: $(READY) ## Plant every known fault in every dtype; rewrite the table in README.md
	$(BIN)/python -m parity selftest --readme -n 2 $(RUN_ARGS)

test: $(READY) ## Run the whole test-suite
	$(BIN)/python -m pytest -n 2 -m "not slow" $(RUN_ARGS)

test-slow: $(READY) ## Run the tests that take longer than a few seconds each
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow $(RUN_ARGS)

check: $(READY) ## Lint, formatting, types and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	BIN=$(BIN) .ci/lint-workflows

format: $(READY) ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-port: $(READY) ## Measure the port's speed and memory against PyTorch's, in one run
	$(BIN)/python -m parity.bench $(if $(wildcard $(MINDNLP)/.ready),--mindnlp $(MINDNLP)/bin/python) $(BENCH_ARGS)

bench-mindnlp: ## Make an environment with MindNLP, which bench-port then measures too
	$(PYTHON) -m venv $(MINDNLP)
	$(MINDNLP)/bin/python -m pip install --quiet --disable-pip-version-check -r parity/bench/mindnlp-requirements.txt
	@touch $(MINDNLP)/.ready

msprobe-env: ## Make an environment with msprobe, which can dump the port and the reference
	$(PYTHON) -m venv $(MSPROBE)
	$(MSPROBE)/bin/python -m pip install --quiet --disable-pip-version-check -r parity/msprobe/requirements.txt
	@touch $(MSPROBE)/.ready

bench-compare: $(READY) ## Measure the comparison of two tensors against plain NumPy and a copy
	$(BIN)/python -m parity.bench.compare $(BENCH_ARGS)

bench-harness: $(READY) ## Measure what the harness itself costs beside the bare forward passes
	$(BIN)/python -m parity.bench.harness $(BENCH_ARGS)

prune: $(READY) ## Remove captures that nothing uses any more
	$(BIN)/python -m parity prune

fixtures: $(READY) ## Train the embedded checkpoint and rebuild every fixture from seeds
	$(BIN)/python -m fixtures.build all

gates: $(READY) ## Measure the gates again on 20 seeds and write parity/gates (about an hour)
	$(BIN)/python -m parity calibrate -n 2 $(RUN_ARGS)

figures: $(READY) ## Measure and draw the tutorial's figures
	$(BIN)/python docs/figures/make.py

screenshots: $(READY) ## Make the pictures in docs/ again (needs chromium)
	.ci/screenshots

update-gold: $(READY) ## Write the report pages that tests compare with anew
	PARITY_UPDATE_GOLD=1 $(BIN)/python -m pytest -q parity/tests/test_report_gold.py

lock: $(READY) ## Rewrite requirements.lock from pyproject.toml
	.ci/lock

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find reports -mindepth 1 ! -name README.md -delete
