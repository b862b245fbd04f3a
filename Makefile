# Sopor: `make demo` shows it, `make test` proves it. Everything is installed into .venv; nothing asks a question.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# Most of the time a test waits for a process: three at once fill two cores. Servers that were given (REDIS_URL) are emptied by each test.
WORKERS := $(if $(REDIS_URL),,-n 3 --dist loadscope --no-loadscope-reorder)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup check format test unit demo check-ten compose-check protos assets docs tritonclient-check

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: ## environment with everything (tests, linters, training) in .venv
	@deploy/environment.sh dev

demo: ## six simulated rooms, live page, verdict at Ctrl-C
	@deploy/environment.sh demo
	@$(BIN)/sopor demo $(DEMO)

check: setup ## linters, types, import contracts
	ruff format --check .
	ruff check .
	mypy
	lint-imports

format: setup ## let ruff format and fix
	ruff format .
	ruff check --fix .

unit: setup ## the fast, pure tests
	pytest -q tests/unit

test: setup ## all that CI runs
	@deploy/environment.sh browser
	@$(MAKE) --no-print-directory check
	pytest $(WORKERS) $(PYTEST)

check-ten: ## `sopor demo --check` ten times in a row, each verdict as a line of JSON; stops at the first red one (40 minutes)
	@deploy/environment.sh demo
	@for n in 1 2 3 4 5 6 7 8 9 10; do echo "check $$n of 10" >&2; $(BIN)/sopor demo --check --json $(DEMO) || exit 1; done

compose-check: ## the containers, built and up with podman to a first score; exit 4 where podman cannot run
	@deploy/containers/check.sh

tritonclient-check: setup ## the model server against NVIDIA's own client, in a throw-away environment
	@PYTHON=$(BIN)/python deploy/tritonclient/check.sh

protos: setup ## generate the stubs beside the .proto files
	python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $$(git ls-files 'protos/*.proto')

assets: ## build the page into services/web/static (needs node and npm)
	cd services/web/frontend && npm ci --no-audit --no-fund && npm run build

docs: setup ## change fragments into CHANGELOG.md (a draft is printed)
	towncrier build --draft --version next
