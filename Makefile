# make demo   install into .venv and run the whole method on embedded scenes
# make test   install into .venv and run the tests, on every core; python -m pytest runs them one after another
# make test-targets   the files of `distill export --target`, each by its own runtime in an environment of its own
# make lint   ruff and mypy
# make docs   build the pages of docs/ as a site, into site/
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-targets lint docs clean
demo: $(READY)
	$(BIN)/distill demo

# Bytecode is kept, whatever is set outside: else every process that a test starts compiles all packages anew. Files run in
# the order of their names: by default those with the fewest tests come last, which are the longest.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-targets:
	sh tools/test_targets.sh $(PYTHON)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy distill teachers students tools

docs: $(READY)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --editable '.[docs]'
	$(BIN)/python tools/make_reference.py --check
	$(BIN)/python -m mkdocs build --strict

# The stamp is written last, so an interrupted installation is simply repeated.
$(READY): pyproject.toml tools/setup_env.sh
	sh tools/setup_env.sh $(PYTHON)
	@touch $@

clean:
	rm -rf .venv .venv-targets
