# Everything a person types. Needs Python 3.11 or newer and make; brings the rest itself.
# No Docker, Java or broker is needed: a Java runtime comes from PyPI where there is none,
# Apache Kafka from Maven Central (45 MB, once, kept in ~/.cache/unbinding).

.DEFAULT_GOAL := help
.SHELLFLAGS := -euc
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?=
UV ?= uv
BIN := .venv/bin
READY := .venv/.ready
LOCKS := locks/build.lock locks/dev.lock locks/java.lock locks/run.lock
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.PHONY: help setup demo test check simulate soak faults lint fuzz format lock kafka-jars clean \
	test-lint test-rooms test-pure test-wire test-mutants test-broker test-faults test-whole

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with all that is pinned in locks/
	@:

demo: $(READY) ## run everything here: Kafka, the payment side, workers, requests of every kind
	@$(BIN)/unbinding demo

test: $(READY) ## all levels: lint, rooms, pure, wire, mutants, broker, faults, whole
	@$(BIN)/python tests/levels.py

check: $(READY) ## what to run before each commit: lint and pure
	@$(BIN)/python tests/levels.py lint rooms pure

simulate: $(READY) ## SEEDS (20000) random worlds on a simulated Kafka, from seed FIRST (0)
	@$(BIN)/python -m tests.simulation $(or $(FIRST),0) --count $(or $(SEEDS),20000)

soak: $(READY) ## random faults under load for MINUTES (5) or HOURS, from SEED (1); ends with the checker
	@$(BIN)/python -m tests.soak $(if $(HOURS),--hours $(HOURS),--minutes $(or $(MINUTES),5)) --seed $(or $(SEED),1)

faults: $(READY) ## ROUNDS (20) of faults under load, one kind or all of them, from SEED (1)
	@$(BIN)/python -m tests.faults --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),1)

test-lint test-rooms test-pure test-wire test-mutants test-broker test-faults test-whole: test-%: $(READY)
	@$(BIN)/python tests/levels.py $*

lint: test-lint ## format, lint, types, import contracts, forbidden words
test-rooms: ## the rooms without input and output, and how much of them is covered
test-pure: ## the rest without network and broker: the shard, the simulation, the command line
test-wire: ## the HTTP client against the sandbox, over TLS
test-mutants: ## the code broken on purpose: the tests must notice
test-broker: ## against a real Apache Kafka
test-faults: ## workers killed, frozen, cut off, fed with junk, on a real Apache Kafka
test-whole: ## the program as a person runs it

fuzz: $(READY) ## bad input at every door, for MINUTES (10) minutes; DOOR=journal for one alone
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) --only "$(DOOR)"

format: $(READY) ## format all code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

lock: ## resolve locks/ anew from pyproject.toml (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: python3 -m pip install uv, or make lock UV=path/to/uv" >&2; exit 1; }
	$(COMPILE) --upgrade pyproject.toml -o locks/run.lock
	$(COMPILE) --upgrade pyproject.toml --group dev -c locks/run.lock -o locks/dev.lock
	$(COMPILE) --upgrade --group build -c locks/dev.lock -o locks/build.lock
	$(COMPILE) --upgrade --group java -o locks/java.lock

kafka-jars: $(READY) ## pin the jars of deploy/kafka/pom.xml (needs Maven)
	@command -v mvn >/dev/null || { echo "make kafka-jars needs Maven (mvn) on the PATH" >&2; exit 1; }
	rm -rf var/kafka-jars
	mvn -q -B -f deploy/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
		-Dmdep.useRepositoryLayout=true -DoutputDirectory="$(CURDIR)/var/kafka-jars" </dev/null
	$(BIN)/python -m worker.sandbox.kafka_manifest var/kafka-jars

clean: ## remove .venv and all caches of this folder
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage var

# A .venv whose Python has gone or is too old is made anew; a sound one is only brought up to date.
$(READY): $(LOCKS) pyproject.toml Makefile
	@say() { printf 'set-up: %s\n' "$$*"; }; \
	die() { printf 'set-up: %s\n' "$$*" >&2; exit 1; }; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		found=; \
		for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
			if "$$python" -c "$$new_enough" 2>/dev/null; then found=$$python; break; fi; \
		done; \
		[ -n "$$found" ] || die "no Python 3.11 or newer found (looked for python3 and python3.11 to python3.14)." \
			"Install one (Debian: apt-get install python3 python3-venv; macOS: brew install python)," \
			"or name it: make PYTHON=/path/to/python3"; \
		"$$found" -c 'import ensurepip, venv' 2>/dev/null || die "$$found has no venv and ensurepip." \
			"Install them (Debian: apt-get install python3-venv), or name another: make PYTHON=/path/to/python3"; \
		say "making .venv with $$("$$found" --version)"; \
		rm -rf .venv; \
		"$$found" -m venv .venv; \
	fi; \
	say "installing what locks/ pins (once, about half a minute)"; \
	$(PIP) install --require-hashes -r locks/dev.lock; \
	$(PIP) install --require-hashes -r locks/build.lock; \
	$(PIP) install --no-deps --no-build-isolation --editable .; \
	if ! $(BIN)/python -m worker.sandbox.java >/dev/null 2>&1; then \
		say "no Java 17 or newer here: installing a Java runtime from PyPI"; \
		$(PIP) install --require-hashes -r locks/java.lock; \
		$(BIN)/python -m worker.sandbox.java >/dev/null; \
	fi; \
	touch $@; \
	say "done"
