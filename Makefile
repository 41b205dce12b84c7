# make demo [ARGS=...]   everything on this machine, no Docker, no network
# make test [ARGS=...]   all tests; on Apache Kafka where Docker answers, else on the embedded broker
# make test-fast [ARGS=...]  the unit tests that are not marked slow; no broker, a minute and a half
# make chaos [ARGS=...]  every fault and every crash against real processes, for 35 minutes; needs Docker and openssl
# make bench, make lint, make clean

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast bench chaos lint clean

demo: $(VENV)/.demo
	@$(BIN)/clawdstrike-alerting demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest $(ARGS)

test-fast: $(VENV)/.dev
	$(BIN)/pytest tests/unit -m "not slow" --hypothesis-profile=fast $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(ARGS)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: $(PYTHON) is not Python 3.11 or newer; say which is: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "First time only: making a virtual environment in $(VENV) ..."
	@trap 'rm -rf $(VENV); exit 130' INT; \
	  said=$$($(PYTHON) -m venv $(VENV) 2>&1) || { rm -rf $(VENV); echo "$$said" >&2; exit 1; }

# A stamp says that the extra of its name is installed as pyproject.toml has it.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	@if [ -e $@ ]; then echo "pyproject.toml has changed: installing what is new ..."; \
	  else echo "First time only: installing clawdstrike-alerting[$*] into $(VENV), about half a minute ..."; fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
