# Every target makes .venv first when it is missing, older than pyproject.toml or constraints.txt, or half installed.
#   PY=python3.12       the interpreter to make .venv with; else the first of python3, python3.12, python3.11 that fits
#   TORCH=torch==2.13.0 the torch to install; where pip would bring the CUDA build and you want another one, say so here
#                       (a version with a local label, or the path of a wheel) or configure pip (pip.conf, PIP_* variables)

PY ?= python3
TORCH ?= torch==2.13.0
WORKERS ?= 2
BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install -q

# pip refuses to touch any interpreter but a virtual environment's, whatever state .venv was left in.
export PIP_REQUIRE_VIRTUALENV = 1

.PHONY: help setup demo test test-slow lint bench dashboard clean moved
.DELETE_ON_ERROR:

help:
	@echo "make setup      install into .venv (a few minutes, about 2.5 GB)"
	@echo "make demo       built-in census data, spec to card; results in demo/"
	@echo "make dashboard  runs and cards in the browser, on this machine only"
	@echo "make test       the test suite"
	@echo "make test-slow  longer proofs: coverage of intervals, full training, the browser"
	@echo "make lint       ruff, mypy --strict, import contracts"
	@echo "make bench      measurements; see tests/benchmarks/README.md"
	@echo "make clean      remove what was made here, .venv excepted"

setup: .venv/.ok

# A virtual environment holds absolute paths: one that was copied or moved here is made again.
ifneq ($(shell cat .venv/.ok 2>/dev/null),$(CURDIR))
.venv/.ok: moved
endif

# torch comes first and alone, so that nothing else decides which build is taken. The mark `.installing` is there before
# anything else and goes last: a half made environment, which pip cannot tell from a complete one, is made again. An old
# one is renamed before it is deleted, since half deleted its `python` would be the system's.
.venv/.ok: pyproject.toml constraints.txt
	@set -eu; \
	fits='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'; \
	ours='import os, pip, sys; sys.exit(sys.prefix == sys.base_prefix or not os.path.samefile(sys.prefix, ".venv"))'; \
	home="$$(cat .venv/.ok 2>/dev/null || echo '$(CURDIR)')"; \
	if [ -e .venv/.installing ] || [ "$$home" != '$(CURDIR)' ] || ! $(BIN)/python -c "$$ours" >/dev/null 2>&1; then \
	  for candidate in '$(PY)' python3.12 python3.11 none; do \
	    if "$$candidate" -c "$$fits" >/dev/null 2>&1; then break; fi; \
	  done; \
	  if [ "$$candidate" = none ]; then \
	    echo "guardrail needs Python 3.11 or 3.12 with its venv module (on Debian and Ubuntu: apt install python3-venv);" >&2; \
	    echo "none of '$(PY)', python3.12, python3.11 is one. Install one, or name it: make PY=/path/to/python3.12" >&2; \
	    exit 2; \
	  fi; \
	  echo "Making .venv with $$("$$candidate" --version)"; \
	  rm -rf .venv.old; if [ -e .venv ]; then mv .venv .venv.old; rm -rf .venv.old; fi; \
	  mkdir .venv; touch .venv/.installing; \
	  "$$candidate" -m venv .venv; \
	fi; \
	touch .venv/.installing; rm -f $@; \
	echo "Installing $(TORCH)"; \
	$(PIP) '$(TORCH)'; \
	echo "Installing guardrail and what it needs (pinned in constraints.txt)"; \
	$(PIP) -c constraints.txt -e '.[all,dev]'; \
	$(BIN)/python -m pip check; \
	rm .venv/.installing; \
	echo '$(CURDIR)' > $@

demo: .venv/.ok
	$(BIN)/guardrail demo --out demo

test: .venv/.ok
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: .venv/.ok
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile

lint: .venv/.ok
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p guardrail
	$(BIN)/lint-imports

bench: .venv/.ok
	@set -e; for script in tests/benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

# The demo keeps a home of its own; without a demo, the home is found as everywhere.
dashboard: .venv/.ok
	@if [ -z "$${GUARDRAIL_HOME:-}" ] && [ -d demo/.guardrail ]; then export GUARDRAIL_HOME=demo/.guardrail; fi; $(BIN)/guardrail dashboard

clean:
	rm -rf .venv.old build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
