# `make help` lists the targets. Everything runs in .venv, which `make install` makes on a machine with only Python.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
UI_PORT ?= 5000
UI_URI ?= sqlite:///$(CURDIR)/mlflow.db

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

install: .venv/installed  ## Make .venv and install the package, its libraries and the tools of development

# uv is used if it is there and put into .venv if it is not; the last line compiles what every start imports.
.venv/installed: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	UV=$$(command -v uv || echo $(BIN)/uv); $$UV pip install --quiet --python $(BIN)/python \
		$(if $(CONSTRAINTS),--constraints $(CONSTRAINTS)) --editable '.[dev]'
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import unlearning.cli, unlearning.pipeline, mlflow'
	touch $@

run: install  ## The default job: forget a class of scikit-learn's digits (ARGS="method=ssd seed=1" changes it)
	$(BIN)/python run.py $(ARGS)

test: install  ## The tests, in a few minutes
	$(BIN)/python -m pytest --numprocesses 2 $(ARGS)

test-slow: install  ## The tests that take minutes: several processes, benchmarks, studies
	$(BIN)/python -m pytest -m slow $(ARGS)

test-gpu: install  ## The tests that need a GPU; they are skipped where there is none
	$(BIN)/python -m pytest -m gpu -rs $(ARGS)

lint: install  ## Check style and common mistakes with ruff, and types with mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

docs: .venv/docs  ## Build the pages of docs/ as a site; broken links are errors
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

.venv/docs: .venv/installed
	UV=$$(command -v uv || echo $(BIN)/uv); $$UV pip install --quiet --python $(BIN)/python \
		$(if $(CONSTRAINTS),--constraints $(CONSTRAINTS)) --editable '.[dev,docs]'
	touch $@

bench: install  ## Speed against the floors, as a table of ratios
	$(BIN)/python -m experiments.speed.bench $(ARGS)

report: install  ## Tables over finished runs and a page with figures (ARGS="--help" explains)
	$(BIN)/python -m unlearning.report $(ARGS)

leaderboard: install  ## Rank the methods of a folder of runs, each run verified (ARGS=FOLDER)
	$(BIN)/python -m unlearning.report.leaderboard $(ARGS)

tune: install  ## Choose settings on validation data (ARGS="method=ssd dataset=digits trials=30")
	$(BIN)/python -m unlearning.tune $(ARGS)

verify: install  ## Recompute the numbers of finished runs from their folders (ARGS=RUN_FOLDER)
	$(BIN)/python -m unlearning.verify $(ARGS)

ui: install  ## Open MLflow on the runs (UI_PORT=5000, UI_URI=sqlite:///FILE for another database)
	$(BIN)/python -m unlearning.records.ui --uri $(UI_URI) --port $(UI_PORT)

methods: install  ## List the unlearning methods
	@$(BIN)/python -m unlearning.config.catalogue methods

metrics: install  ## List the metrics and how to read them
	@$(BIN)/python -m unlearning.config.catalogue metrics

.PHONY: help install run test test-slow test-gpu lint docs bench report leaderboard tune verify ui methods metrics
