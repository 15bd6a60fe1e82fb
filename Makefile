# make run    the whole thing on this machine: Kafka, Postgres, agents; sends the bundled messages and shows the answers
# make test   every test, against a real Kafka and a real Postgres
# make simulate SEEDS=2000 [FROM=0] [JOBS=2] [SUMMARY=file]   that many schedules of everything going wrong; REPLAY=… for one that failed
# make chaos [KILLS=200] [ONLY=kills,broker]   kills, freezes and restarts of a running deployment, counted from outside
# make chaos BROKERS=3 [ROUNDS=4] [RATE=20] [ONLY=leader,controller,two,all,freeze20,freeze45,roll,move,starts]   the same of three brokers
# make hostile [MINUTES=60] [SEED=1]   everything bad that can be written, beside 20 honest messages a second, counted from outside
# make bench [ONLY=a,c] [QUICK=1]   runs/s, latency, growth, restore, beside the bare client; tables, and bench/results/*.json
# make histories   record tests/histories anew, on purpose: what later versions must decide as it was decided now
# make check  what CI runs: style, types, import rules, schemas, workflows, tests with coverage, and the tests of make clocks
# make clocks the unit tests on a machine that was started this moment, and on one that was started 30 years ago
# make long   the long tier, half an hour: five hostile minutes, short rounds of chaos, a sweep of the simulation
.DEFAULT_GOAL := help
.PHONY: help run up test check clocks long hostile chaos bench simulate histories style types imports schemas workflows lock clean
SHELL := /bin/bash

# A distribution's Python first: it is built with profile-guided optimisation, pyenv's only if asked (docs/performance.md).
PYTHON ?= $(shell for p in /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(READY): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=/path/to/python"; exit 1; }
	@[ -d .venv ] || { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "installing the pinned packages (about 600 MB on disk, once; a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

run: $(READY)
	@$(BIN)/hil demo

up: $(READY)
	@$(BIN)/hil up

test: $(READY)
	@$(BIN)/python -m pytest -n $${HIL_TEST_WORKERS:-3} --dist loadgroup --cov --cov-report=term --no-cov-on-fail $(ARGS)

simulate: $(READY)
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000) --from $(or $(FROM),0) --jobs $(or $(JOBS),2) $(if $(SUMMARY),--summary $(SUMMARY)) --replay "$(REPLAY)"

chaos: $(READY)
	@$(BIN)/python -m tests.chaos --brokers $(or $(BROKERS),1) --kills $(or $(KILLS),200) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(RATE),--rate $(RATE)) $(if $(ONLY),--only $(ONLY)) $(ARGS)

bench: $(READY)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(ARGS)

# Three tiers. `test`: all that pytest finds, minutes. `check`: that, and what else must hold before a change is merged.
# `long`: what needs time to go wrong; before a release, and after a change of the runtime, the codec, the sandbox or the budgets.
check: style types imports schemas workflows test clocks

clocks: $(READY)
	@for at in 0 1e9; do $(BIN)/python -m pytest -n $${HIL_TEST_WORKERS:-3} --dist loadgroup --no-cov --clock-at $$at tests/unit || exit 1; done

long: $(READY)
	@$(BIN)/python -m tests.hostile --minutes 5 $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.chaos --kills 20 --only kills,freeze,broker --freezes 2 --restarts 1
	@$(BIN)/python -m tests.simulation --seeds 500

hostile: $(READY)
	@$(BIN)/python -m tests.hostile --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

style: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

schemas: $(READY)
	@$(BIN)/hil schemas check

histories: $(READY)
	@$(BIN)/python -m tests.support.histories

workflows: $(READY)
	@$(BIN)/hil workflows validate workflows/*.yaml

# The locks are made by uv, which is fetched for this alone; they carry hashes and no address of an index.
UV_COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q
lock: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	$(UV_COMPILE) pyproject.toml --all-extras -o requirements.lock
	$(UV_COMPILE) pyproject.toml -c requirements.lock -o requirements-production.lock
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | $(UV_COMPILE) - -c requirements.lock -o requirements-build.lock

clean:
	rm -rf .venv .hil
