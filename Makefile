# make train: from a fresh clone to a trained model; make test: lint and tests. Both need Python >= 3.11 and pip alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers with one thread each are faster than one with two.
WORKERS ?= 2

DOCS := .github/docs
DOCS_STAMP := $(VENV)/.docs-installed

.PHONY: help install train test bench docs lint format clean

help:
	@echo "make train    install into .venv, train on the embedded data, show the errors"
	@echo "make test     install into .venv, lint, test"
	@echo "make bench    speed against e3nn, and against nequip if it is installed: quiet machine, some minutes"
	@echo "make docs     build the documentation into build/docs: some minutes, as its tutorials are run"
	@echo "make lint     ruff, and mypy over the whole package"
	@echo "make format   let ruff mend what it can"
	@echo "make clean    remove .venv and caches; runs stay"

install: $(STAMP)

NATIVE := $(wildcard e3frame/kernels/native/*pp e3frame/kernels/native/build.py)

$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit("e3frame needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(STAMP)

train: $(STAMP)
	$(BIN)/python scripts/train.py experiment=sample
	@echo
	@echo "e3frame is installed in $(VENV). To go on in this shell:"
	@echo "  source $(BIN)/activate"
	@echo "  e3frame check model=nequip data=sample"
	@echo "  e3frame train model=nequip data=sample trainer.max_minutes=5 name=mine"
	@echo "or, without activating: $(BIN)/e3frame train ..."

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

bench: $(STAMP)
	$(BIN)/python scripts/bench.py all

docs: $(DOCS_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html $(DOCS) build/docs
	@echo "open build/docs/index.html"

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $(DOCS_STAMP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
