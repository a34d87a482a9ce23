# Two commands do everything on a machine with Python >= 3.11, make and g++:
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

# A small part of the tests that every requirement has a say in: start-up, plug-ins, readers, the list of what may be imported, a fit.
OLDEST_TESTS := tests/reliability/test_startup.py tests/reliability/test_broken_plugins.py \
	tests/reliability/test_hostile_configurations.py tests/core/cli tests/core/io tests/core/geometry tests/core/test_zoo.py \
	tests/landmark/heatmap/test_module.py::TestTimm tests/anomaly/test_contract.py::TestPaDiM

.PHONY: help install fit test test-slow lint types packaging walk reliability docs site benchmark oldest audit anomalib clean

help:
	@sed -n 's/^#   //p' Makefile; echo "also: install test-slow lint types packaging walk reliability docs site benchmark oldest audit anomalib clean"

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
	$(BIN)/python -m pytest -m "packaging and not slow" tests/packaging

# The README's commands from a clone to an answer: an environment of its own, minutes of downloads.
walk: $(VENV)/.developing
	$(BIN)/python -m pytest tests/packaging/test_walk.py

reliability: $(VENV)/.developing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability

docs: $(VENV)/.developing
	$(BIN)/python docs/build.py

# The documentation as pages in site/; a broken link or a page that is in no menu fails.
site: $(VENV)/.developing
	$(PIP) --no-build-isolation -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Four steps of three models with two seeds each, compared with the table that the last accepted change left.
benchmark: $(VENV)/.developing
	rm -rf build/benchmark
	$(BIN)/medzoo benchmark --models classifier padim heatmap --seeds 2 --budget smoke --compare .ci/benchmark.json -o build/benchmark

# The oldest versions that the packages declare; torch brings the torchvision that was built with it.
.venv-oldest/.installed: pyproject.toml $(SOURCES) .ci/floors.py | $(VENV)/.developing
	$(PYTHON) -m venv .venv-oldest
	$(BIN)/python .ci/floors.py > .venv-oldest/floors.txt
	.venv-oldest/bin/python -m pip install --quiet hatchling editables
	.venv-oldest/bin/python -m pip install --quiet --no-build-isolation -c .venv-oldest/floors.txt $(EDITABLE)
	.venv-oldest/bin/python -m pip install --quiet --no-build-isolation -c .venv-oldest/floors.txt -e '.[test]'
	@touch $@

oldest: .venv-oldest/.installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist worksteal -m "not slow and not packaging" $(OLDEST_TESTS)

audit: $(VENV)/.developing
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > .venv-audit/installed.txt
	$(BIN)/python .ci/audit.py .venv-audit/bin/pip-audit .venv-audit/installed.txt

# anomalib asks for a jsonargparse that medzoo refuses, so it has an environment of its own.
.venv-anomalib/.installed: constraints.txt
	$(PYTHON) -m venv .venv-anomalib
	grep -v jsonargparse constraints.txt > .venv-anomalib/constraints.txt
	.venv-anomalib/bin/python -m pip install --quiet -c .venv-anomalib/constraints.txt 'anomalib>=2.4' torch torchvision
	@touch $@

anomalib: .venv-anomalib/.installed $(VENV)/.developing
	MEDZOO_ANOMALIB_PYTHON=$(CURDIR)/.venv-anomalib/bin/python $(PYTEST) \
		tests/anomaly/baselines/test_anomalib_model.py tests/anomaly/test_contract.py::TestAnomalib

clean:
	rm -rf $(VENV) .venv-oldest .venv-audit .venv-anomalib .pytest_cache .mypy_cache .ruff_cache build dist
