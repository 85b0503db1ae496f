# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

FLOWER := $(VENV)/flower

# One more than there are cores: tests of sites in the field wait, for processes to start and for deadlines to pass.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# The benchmarks whose targets stand in the short table; those of moving large models and of 25 M parameters take longer.
TARGETS := $(addprefix benchmarks/bench_,$(addsuffix .py,shamir round memory wire keystream flower homomorphic \
	profile distributed audit))
# Where the tables go. One folder holds the figures of one revision: name another after an update, and compare the two.
BENCH ?= runs/bench
FULL ?= runs/full
# Public medical data for tests and `make field`; nothing of it is in the repository.
DATA := $(or $(SECAGG_DATA),../shared/data)

# Containers often set it. Each process of those that tests start would then compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help flower demo attack audit-privacy test test-slow field test-field schedules fuzz lint format bench bench-full bench-short bench-consortium bench-field bench-flower bench-homomorphic study-utility study-privacy docs clean

help:            ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/run.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "secagg needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint,bench]'
	touch $@

demo: $(VENV)/run.stamp  ## eight hospitals, 569 real patients, start to signed release
	$(BIN)/secagg demo --out runs/demo --force

attack: $(VENV)/run.stamp  ## every attack of the threat model, refused here, and its control on a weakened build
	$(BIN)/secagg audit attack --all --controls tests/attacks

audit-privacy: $(VENV)/run.stamp  ## epsilon from below, in both modes: 20 honest runs, and 20 of each weakened build (minutes)
	$(BIN)/secagg audit privacy --mode local --controls tests/attacks
	$(BIN)/secagg audit privacy --mode distributed --controls tests/attacks

test: lint  ## lint, then all tests but the slow ones, and the benchmarks in short form
	$(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --dist worksteal
	$(MAKE) --no-print-directory bench-short

test-slow: $(VENV)/dev.stamp  ## the tests that take minutes
	$(BIN)/pytest -m slow

field: $(VENV)/dev.stamp  ## four hospitals and a coordinator over mTLS on this machine, on UCI Heart Disease in SECAGG_DATA
	@test -d "$(DATA)/uci-heart" || { echo "no UCI Heart Disease in $(DATA): set SECAGG_DATA"; exit 2; }
	rm -rf runs/field
	PATH="$(CURDIR)/$(BIN):$$PATH" docs/examples/field.sh runs/field "$(abspath $(DATA))/uci-heart" \
		--dp local --epsilon 8 --rounds 12 --local-steps 4

test-field: $(VENV)/dev.stamp  ## sites in the field, killed, cut off and starved at every phase (an hour and a half; as root for networks)
	$(BIN)/pytest tests/e2e/test_field.py tests/e2e/test_field_networks.py tests/faults/test_field_faults.py \
		--numprocesses $(WORKERS) --dist worksteal

schedules: $(VENV)/dev.stamp  ## 10,000 random schedules of the masking protocol's messages
	$(BIN)/python -m tests.secagg.masking.schedules.tally 10000

$(VENV)/fuzz.stamp: $(VENV)/dev.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	touch $@

fuzz: $(VENV)/fuzz.stamp  ## every decoder of outside bytes, for FUZZ_SECONDS (60) each; what breaks one is kept
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/dev.stamp  ## ruff, ruff format, mypy --strict on all packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/dev.stamp  ## the short table: schemes side by side, then the targets, into BENCH=runs/bench (ten minutes)
	$(BIN)/secagg bench run --short --out $(BENCH)
	SECAGG_BENCH=brief $(BIN)/pytest $(TARGETS) -q -k "not break_even" --keep=$(BENCH)
	$(BIN)/secagg bench table $(BENCH)

bench-full: $(VENV)/dev.stamp  ## the whole: hospitals, parameters, drop-outs, privacy, and all targets, into FULL=runs/full (hours)
	$(BIN)/secagg bench run --full --out $(FULL)
	$(BIN)/pytest benchmarks --keep=$(FULL)
	$(BIN)/secagg bench table $(FULL)

bench-consortium: $(VENV)/dev.stamp  ## 200 and 1,000 hospitals with neighbour graphs, all of them real (minutes)
	$(BIN)/pytest benchmarks/bench_consortium.py

bench-homomorphic: $(VENV)/dev.stamp  ## encrypted sums beside NVFlare's defaults: bytes, encrypt, add, decrypt, cores, memory
	$(BIN)/pytest benchmarks/bench_homomorphic.py

bench-field: $(VENV)/dev.stamp  ## four sites over mutual TLS: a round, and moving a large model beside NVFlare's own tasks
	$(BIN)/pytest benchmarks/bench_field.py

bench-short: $(VENV)/dev.stamp
	rm -rf runs/bench-short
	$(BIN)/secagg bench run --scheme plain --scheme double-lock --hospitals 3 --parameters 1000 --dropout 0 --turns 1 \
		--out runs/bench-short
	SECAGG_BENCH=short $(BIN)/pytest benchmarks -q --benchmark-disable --numprocesses $(WORKERS) \
		--ignore benchmarks/bench_flower.py --ignore benchmarks/bench_field.py

$(FLOWER)/stamp: benchmarks/flower/requirements.txt | $(VENV)/dev.stamp
	$(PYTHON) -m venv $(FLOWER)
	$(FLOWER)/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/flower/requirements.txt
	touch $@

flower: $(FLOWER)/stamp  ## an environment with Flower, for benchmarks beside it

bench-flower: $(FLOWER)/stamp  ## side by side: raw AES, ours on one core and all, Flower SecAgg+, bytes on the wire
	$(BIN)/pytest benchmarks/bench_keystream.py benchmarks/bench_wire.py benchmarks/bench_flower.py

study-utility: $(VENV)/dev.stamp  ## how good a model is at each epsilon, on five data sets: tables and plots in runs/utility (hours)
	$(BIN)/python -m benchmarks.utility --data "$(DATA)" --out runs/utility

study-privacy: $(VENV)/dev.stamp  ## the part of study-utility that is PneumoniaMNIST at forty hospitals (hours)
	$(BIN)/python -m benchmarks.utility --data "$(DATA)" --out runs/utility --study pneumoniamnist

docs: $(VENV)/dev.stamp  ## rewrite the parts of docs that are generated: state diagrams
	$(BIN)/python -m docs.generate

clean:           ## remove the environment and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
