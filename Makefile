# Every target sets up what it needs; `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help

.PHONY: help setup demo test test-unit test-allensdk test-bi test-ducklake soak lint format types docs audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@echo "Installing vblake and the packages that it needs into $(VENV); this takes a few minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[build,sdk,dask,docs,explore,dev]'
	@$(BIN)/python -m compileall -q assets pipelines schemas vblake
	@touch $@

setup: $(READY) ## Make the virtual environment with everything in it

demo: $(READY) ## Write a small synthetic bucket, ingest it through Dagster, answer a question from the lake
	@$(BIN)/python -m assets.demo demo

# A worker more than there are cores: tests of the web interface wait most of the time. All tests of
# a file run in one worker, which makes what they share once.
test: $(READY) ## All tests on all cores, with coverage
	$(BIN)/python -m pytest tests schemas pipelines vblake -q --dist loadfile --no-loadscope-reorder \
	  -n $$($(BIN)/python -c "import os; print((os.cpu_count() or 1) + 1)") --cov --cov-report=term
	@rm -f .coverage.*

test-unit: $(READY) ## The unit tests, in less than a minute
	$(BIN)/python -m pytest -q

.venv-allensdk/.ready:
	python3.11 -m venv .venv-allensdk
	.venv-allensdk/bin/pip install --quiet 'allensdk==2.16.2' 'brain-observatory-utilities==0.5.1' \
	  'hdmf==3.14.6' 'pynwb==2.8.3' 'setuptools<81' 'pyarrow<23' --editable '.[sdk]'
	@touch $@

test-allensdk: $(READY) .venv-allensdk/.ready ## vblake.sdk beside AllenSDK, in an environment with Python 3.11
	VBLAKE_ALLENSDK_PYTHON=.venv-allensdk/bin/python $(BIN)/python -m pytest tests/process/test_sdk_reference.py

.venv-bi/.ready:
	$(PYTHON) -m venv .venv-bi
	.venv-bi/bin/pip install --quiet --disable-pip-version-check 'duckdb==1.5.6' 'duckdb-sqlalchemy==1.5.6.5' \
	  'sqlalchemy==2.1.9' 'ibis-framework[duckdb]==12.0.0' 'pandas==3.1.1'
	@touch $@

test-bi: $(READY) .venv-bi/.ready ## The BI views through SQLAlchemy and ibis, in an environment of their own
	VBLAKE_BI_PYTHON=.venv-bi/bin/python $(BIN)/python -m pytest -q tests/process/test_bi.py

.venv-ducklake/.ready:
	$(PYTHON) -m venv .venv-ducklake
	.venv-ducklake/bin/pip install --quiet --disable-pip-version-check \
	  'duckdb==1.5.5' 'duckdb-extension-ducklake==1.5.5' 'duckdb-extension-httpfs==1.5.5'
	@touch $@

test-ducklake: $(READY) .venv-ducklake/.ready ## A published lake in DuckLake over HTTP, in an environment with its extension
	VBLAKE_DUCKLAKE_PYTHON=.venv-ducklake/bin/python $(BIN)/python -m pytest tests/network/test_published_lake.py

soak: $(READY) ## The fault tests with their full number of cases (SEED=n for others); prints the figures of docs/reliability.md
	$(BIN)/python -m pytest tests/fault --soak --seed $(or $(SEED),0)

lint: $(READY) ## Style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## Types, strict in schemas/ and pipelines/
	$(BIN)/pyright

docs: $(READY) demo/lake/catalog.duckdb ## Write the generated pages and build the docs site in build/site; broken links are errors
	$(BIN)/python -m schemas.dictionary > docs/tables.md
	$(BIN)/python -m docs.site.er_diagram > docs/images/tables.svg
	$(BIN)/python -m docs.site.llms > docs/llms.txt
	$(BIN)/python -m docs.site.picture demo/lake > docs/images/session.svg
	$(BIN)/python -m assets ingest --source demo/bucket --lake demo/lake --tables stimulus_responses
	$(BIN)/python -m docs.site.build demo/lake

demo/lake/catalog.duckdb:
	@$(MAKE) demo

audit: $(READY) ## Known vulnerabilities in what constraints.txt pins; needs the network
	@$(BIN)/python .ci/audit.py

clean: ## Remove the environment and what the demo made
	rm -rf $(VENV) demo
