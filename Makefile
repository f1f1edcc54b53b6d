# make repro    environment, the whole DAG on the built-in sample, Table I
# make test     the tests
# make report   results in the browser, of this machine only (REPORT_ADDRESS=0.0.0.0: of all)
# make survey   the survey for raters, nothing else
# make ui       Prefect's UI with the pipeline in it
# make ablation variants of stage 2 as DVC experiments, and their table (ABLATION='-S data=folder')
# make params   compose params.yaml anew after a change in conf/
# make lint     ruff, pyright and the import contracts (pyproject.toml)
# make docs     the documentation as a site, in site/
# make clean    remove what the stages made (not DVC's cache) and tool caches

PYTHON ?= python3
REPORT_ADDRESS ?= 127.0.0.1
SURVEY_PORT ?= 8502
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# OpenCV's packages need libGL, which servers lack: there the same version without windows goes over them
CV2_WITHOUT_WINDOWS = $(BIN)/python -c "import cv2" 2>/dev/null \
	|| $(BIN)/python -m pip install -c constraints.txt --force-reinstall --no-deps opencv-python-headless
INSTALLED_TEST := $(VENV)/.installed-test
INSTALLED_DEV := $(VENV)/.installed-dev

# the stages' commands say `python`
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS := 120
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: repro test mutations report ablation survey ui params lint docs clean

repro: $(INSTALLED)
	$(BIN)/dvc repro
	@$(BIN)/kpbe table1

test: $(INSTALLED_TEST)
	DVC_NO_ANALYTICS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TESTS)

mutations: $(INSTALLED_TEST)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.method.mutations

report: $(INSTALLED)
	$(BIN)/python -m reports --server.address $(REPORT_ADDRESS)

survey: $(INSTALLED)
	$(BIN)/streamlit run reports/survey.py --server.port $(SURVEY_PORT)

ui: $(INSTALLED)
	$(BIN)/python -m flows.serve

ablation: $(INSTALLED)
	$(BIN)/python -m flows.ablation $(ABLATION)

params: $(INSTALLED)
	$(BIN)/python -c "from dvc.utils.hydra import compose_and_dump; \
	  compose_and_dump('params.yaml', '$(CURDIR)/conf', None, 'config', '$(CURDIR)', [])"

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(INSTALLED_DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:
	rm -rf data/raw data/clips data/backend data/enhanced checkpoints reports/results
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find kpbe flows reports tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else 'KPBE needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing KPBE and what it needs (PyTorch is large: some minutes)'
	@$(BIN)/python -m pip install -q -c constraints.txt -e .
	@$(CV2_WITHOUT_WINDOWS)
	@touch $@

$(INSTALLED_TEST): $(INSTALLED)
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	@$(CV2_WITHOUT_WINDOWS)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
