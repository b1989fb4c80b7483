# make demo   install into .venv and run the whole method on embedded scenes
# make test   install into .venv and run the tests
# make lint   ruff and mypy
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint clean
demo: $(READY)
	$(BIN)/distill demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy distill teachers students tools

# The stamp is written last, so an interrupted installation is simply repeated.
$(READY): pyproject.toml tools/setup_env.sh
	sh tools/setup_env.sh $(PYTHON)
	@touch $@

clean:
	rm -rf .venv
