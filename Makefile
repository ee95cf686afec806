# What a person types. Needs make and Python 3.11 or 3.12; `make install` gets the rest from the lock.
.POSIX:
.PHONY: help install run example test check check-format check-lint check-types check-layers check-tidy coverage bench lock audit graph pictures sdk mutation clients crash power-cut brokers drill clean
PYTHON =
PY = .venv/bin/python
DATA = carillon-data

help:
	@echo "make run      the whole system with a demo workload; Ctrl-C stops it"
	@echo "make example  a small web site with bell, mail and push; Ctrl-C stops it"
	@echo "make install  .venv from requirements.lock; the command is then .venv/bin/carillon"
	@echo "make test     all tests     make check  format, lint, types, layers, tidy"
	@echo "make coverage branches of operators/ and state/ that tests take"
	@echo "make drill    incidents     make crash  kill -9     make brokers  Kafka's outages"
	@echo "make bench    the figures   make lock   requirements.lock from pyproject.toml"
	@echo "make audit    what is known against the locked packages"
	@echo "make sdk      declarations of the clients in infra/sdk, from the OpenAPI document"

install:
	@PYTHON="$(PYTHON)" infra/venv.sh

run: install
	@CARILLON_TYPES__LIKE__WINDOW_MS=5000 exec .venv/bin/carillon up --demo --data "$(DATA)"

example: install
	@PYTHONPATH=infra/sdk/python exec .venv/bin/python -m infra.examples.photos --data "$(DATA)-example"

# In three processes, each file in one of them: most tests wait, and two leave a third of two cores idle. Files that need
# the machine come one after the other. The flows run at nice 19 (DECISIONS, P0 shares nothing), so tests give way a
# little too, or a busy one would starve them.
test: install
	@nice -n 15 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# `make -k check` goes on after the first that fails.
check: check-format check-lint check-types check-layers check-tidy

check-format: install
	$(PY) -m ruff format --check --quiet .

check-lint: install
	$(PY) -m ruff check .

check-types: install
	$(PY) -m mypy
	$(PY) -m mypy infra/sdk/python/carillon_client/__init__.py

check-layers: install
	.venv/bin/lint-imports --no-logo

check-tidy: install
	$(PY) -m pytest -q tests/tidy

# The branches of the decisions and of the state that tests take, and the floor below which these may not fall. Left out is
# what starts processes, which are not measured, what measures time, and what takes random ways or the same ones many times.
COVERED = tests/operators tests/state tests/golden tests/connectors/inbox tests/flows/config \
  tests/rules/test_rules_document.py tests/flows/steps/decide/test_together.py
UNMEASURED = kill_9 or killed or bystander or four_writes or exporter or in_steps or groups_move or minute_by_minute \
  or agree[1 or agree[2 or agree[3 or were[1 or were[2 or were[3 or were[4 or digest_comes
coverage: install
	@$(PY) -m coverage run -m pytest -q $(COVERED) -m "not hypothesis" -k "not ($(UNMEASURED))" $(ARGS)
	@$(PY) -m coverage report

bench: install
	@$(PY) -m bench $(ARGS)

# Every comparison and boolean of the modules that decide and keep state changed, one at a time; something must notice (half an hour).
mutation: install
	@$(PY) tests/mutation/run.py $(ARGS)

# What is known against the locked packages; asks a database of vulnerabilities, and fails where that does not answer.
audit: install
	@$(PY) -m infra.supply.audit $(ARGS)

# The simulated providers as clients of somebody else's making see them; installs their libraries on first use.
clients: install
	@$(PY) tests/foreign/run.py $(ARGS)

# The whole system under load and kill -9, judged by the reference model; prints its seed. SEED, KILLS, PROFILE, ONLY.
crash: install
	@$(PY) tests/crash/run.py --seed "$(SEED)" --kills "$(KILLS)" --profile "$(PROFILE)" --only "$(ONLY)"

# The embedded log on a disk that is shut down without a flush, and the next start; as root, since it mounts a file.
power-cut: install
	@$(PY) -m pytest -q tests/damage/power_cut.py $(ARGS)

# Three real Kafka brokers killed, frozen, filled up and cut off, in an order that SEED gives; outages of a minute.
ROUNDS = 3
brokers: install
	@BROKERS_SEED="$${SEED:-$$(date +%s)}" BROKERS_ROUNDS="$(ROUNDS)" BROKERS_OUTAGE_S=60 $(PY) -m pytest -q -s tests/brokers $(ARGS)

# Incidents on a real system with simulated providers that are steered, each judged (a quarter of an hour for all of them).
# DRILL: one or several with commas; SCALE: of times and people; SEED.
drill: install
	@$(PY) tests/drills/run.py --drill "$(DRILL)" --scale "$(SCALE)" --seed "$(SEED)"

# Universal: every platform and both Python versions, with hashes and without any registry's address.
lock: install
	@command -v uv >/dev/null 2>&1 || $(PY) -m pip install -q uv
	@PATH="$$PATH:$$PWD/.venv/bin" uv pip compile -q --universal --generate-hashes --python-version 3.11 --group dev --group build \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	@! grep -n '://' requirements.lock

graph: install
	@$(PY) -m flows.commands.picture

# Types and calls of the SDKs, from the OpenAPI document.
sdk: install
	@$(PY) -m infra.sdk.generate

# Pictures of pages for the documents, as the tests see them in a browser.
pictures: install
	@PICTURES=1 $(PY) -m pytest -q -k "picture" tests/system tests/infra/examples

clean:
	rm -rf .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
