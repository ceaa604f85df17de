# Six verbs: demo, test, check, generate, fix, bench. Each sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Most tests on real servers wait more than they work.
WORKERS := $(shell echo $$((2 * $$(nproc))))

# One that lost a race with the machine is tried once more, and told: docs/adr/0033.
AGAIN   := --reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks

.PHONY: demo test test-fast check generate fix bench

$(READY): pyproject.toml runbook/__init__.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable . --group dev
	@touch $@

demo: $(READY)                ## deploy a sample shop: no container, no database server
	@$(BIN)/runbook demo

test: $(READY)                ## everything, on real servers that it sets up
	@$(BIN)/python -m tests.real.ground
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(AGAIN)

test-fast: $(READY)           ## what takes a second or two each
	@$(BIN)/python -m pytest -n auto -m "not slow and not real"

check: $(READY)               ## layers, types, style, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/generated

generate: $(READY)            ## write schemas and reference pages anew
	@$(BIN)/python -m pytest -q tests/generated/test_schemas.py tests/generated --generate

fix: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY)               ## side by side, in one run
	@for bench in benchmarks/*/bench.py; do $(BIN)/python -m $$(echo $${bench%.py} | tr / .) || exit 1; done
