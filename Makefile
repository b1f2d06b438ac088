# Everything a fresh machine needs: `make demo` and `make test` each set up a .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo quick test extras browser lint format types check benchmark clean help

help: ## show what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

demo: $(READY) ## set up, then make pictures with the bundled model
	$(BIN)/gradstyle demo

quick: $(READY) ## the tests to run at each save: a part of them, under two minutes
	$(BIN)/python -m pytest -n auto -m "not slow"

extras: $(READY) ## install the package bare and with each extra alone, import all of it, ask every verb for its help
	$(BIN)/python -m tests.support.extras

test: $(READY) browser ## set up, then run the tests
	$(BIN)/python -m pytest -n auto

CHROMIUM := command -v chromium || command -v chromium-browser || command -v google-chrome || test -x "$$GRADSTYLE_CHROMIUM"
browser: ## a Chromium for the tests of web pages, installed where that is allowed
	@{ $(CHROMIUM); } >/dev/null 2>&1 \
	|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "installing chromium for the tests of web pages" \
	  && { apt-get install -yqq --no-install-recommends chromium || { apt-get update -qq \
	  && apt-get install -yqq --no-install-recommends chromium; }; } >/dev/null 2>&1 && { $(CHROMIUM); } >/dev/null; } \
	|| echo "NO CHROMIUM HERE, and none could be installed: THE TESTS OF WEB PAGES WILL BE SKIPPED" >&2

lint: $(READY) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## strict types of src
	$(BIN)/mypy

check: lint types test ## all that CI asks

format: $(READY) ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(READY) ## print the speed figures of this machine
	$(BIN)/python -m benchmarks

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
