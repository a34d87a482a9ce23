# Two commands do everything on a machine with Python >= 3.11, make and gcc:
#   make fit     virtual environment, installation, a first training on built-in images
#   make test    the same set-up where missing, then the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := core landmark anomaly adversarial vlm fairness
EDITABLE := $(foreach p,$(PACKAGES),-e packages/$(p)) -e .
SOURCES := $(wildcard packages/*/pyproject.toml)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help install fit test test-slow lint types packaging reliability docs clean

help:
	@sed -n 's/^#   //p' Makefile; echo "also: install test-slow lint types packaging reliability docs clean"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation $(EDITABLE)
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(PIP) --no-build-isolation -e '.[test,lint]'
	@touch $@

fit: $(VENV)/.installed
	$(BIN)/medzoo fit --model uod

test: $(VENV)/.developing
	$(PYTEST) -m "not slow and not packaging"

test-slow: $(VENV)/.developing
	$(PYTEST) -m "slow and not packaging"

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python docs/build.py --check

types: $(VENV)/.developing
	$(BIN)/mypy $(foreach p,$(PACKAGES),-p medzoo.$(p))

packaging: $(VENV)/.developing
	$(BIN)/python -m pytest -m packaging tests/packaging

reliability: $(VENV)/.developing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability

docs: $(VENV)/.developing
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
