# One-line recipes. VENV and PYTHON may be set: make test VENV=/tmp/venv PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
PIP = $(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types format accuracy speed clean

demo: $(VENV)/.dev  ## train on the embedded scene with three losses and write the report
	$(RUN)/lovasz compare --out lovasz-compare

test: $(VENV)/.dev  ## every test, doctests and README included
	$(RUN)/python -m pytest -q

lint: $(VENV)/.dev
	$(RUN)/ruff check . && $(RUN)/ruff format --check .

types: $(VENV)/.dev
	$(RUN)/mypy

format: $(VENV)/.dev
	$(RUN)/ruff check --fix . && $(RUN)/ruff format .

accuracy: $(VENV)/.dev
	$(RUN)/python -m benchmarks accuracy --csv benchmarks/results/accuracy.csv

speed: $(VENV)/.dev
	$(RUN)/python -m benchmarks speed --csv benchmarks/results/speed.csv && $(RUN)/python -m benchmarks figure

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch && $(PIP) -e ".[dev]"
	touch $@
