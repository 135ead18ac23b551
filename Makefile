# tickd's commands. `make help` lists them; CI and people call the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Containers often forbid byte code: every daemon that a test starts would compile all of tickd anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest
CARGO := cargo --locked
CARGO_MANIFEST := native/Cargo.toml
PACKAGES := tickd gateway recorder strategy_runner risk backtest
DEMO_SECONDS ?= 0
WORKERS ?= 2
SECONDS ?= 30
SOAK_SECONDS ?= 3600
SOURCES := $(shell find native -name '*.rs' -not -path '*/target/*') native/Cargo.toml native/Cargo.lock $(wildcard native/*/Cargo.toml)

.PHONY: help setup demo test check proof soak fuzz bench bench-check lint lock wheel deb clean

help: ## this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.requirements: requirements/dev.txt
	@scripts/prerequisites.sh $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.native: $(VENV)/.requirements $(SOURCES) pyproject.toml
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/.native ## the virtual environment with every dependency and the native core

demo: setup ## record a simulated market and watch it; DEMO_SECONDS=20 ends by itself
	$(BIN)/tickd demo --seconds $(DEMO_SECONDS)

test: setup ## the quick tests (≤ 3 min)
	$(PYTEST) -n $(WORKERS) -m "not slow and not proof and not server"

lint: setup ## format, ruff, mypy, pyright, clippy, stubtest; FIX=1 formats and mends first
ifdef FIX
	$(BIN)/ruff format . && $(BIN)/ruff check --fix --quiet . || true
	cd native && cargo fmt --all
endif
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m mypy.stubtest tickd._native --allowlist scripts/stubtest-allow.txt
	cd native && cargo fmt --all --check
	$(CARGO) clippy --manifest-path $(CARGO_MANIFEST) --all-targets --quiet -- -D warnings

check: lint ## everything CI checks before the proofs: lint, cargo test, quick and slow tests with coverage
	$(CARGO) test --manifest-path $(CARGO_MANIFEST) --workspace --exclude tickd-py --quiet
	$(PYTEST) -n $(WORKERS) -m "not proof and not server" --cov --cov-report=term:skip-covered

proof: setup ## the slow proofs: crash, chaos, real servers
	scripts/libchdb.sh
	TICKD_HFTBACKTEST="$$(scripts/hftbacktest.sh $(PYTHON))" TICKD_REQUIRE_ALL=1 $(PYTEST) -n $(WORKERS) -m "proof or server" --timeout 600

soak: setup ## 100 k events/s for SOAK_SECONDS=3600 with an outage of ClickHouse; result in build/soak
	scripts/libchdb.sh
	$(BIN)/python -m tests.harness.soak --seconds $(SOAK_SECONDS) --directory build/soak --series build/soak/series.csv --result build/soak/result.json

fuzz: ## every native fuzz target for SECONDS=30; findings stay in native/fuzz/artifacts
	native/fuzz/run.sh $(SECONDS)

bench: setup ## print every published ratio, then pytest-benchmark's and criterion's tables, on a release build
	benchmarks/run.sh
	PYTHONPATH=benchmarks $(PYTEST) --dist=no benchmarks/test_indicator_calls.py --benchmark-columns=min,median,iqr
	$(CARGO) bench --quiet --manifest-path $(CARGO_MANIFEST) -p tickd-core -- --quick

bench-check: setup ## fail when a ratio fell more than 10 % below the committed one
	benchmarks/run.sh --check

wheel: setup ## build the abi3 wheel into dist/
	rm -f dist/tickd-*.whl
	$(BIN)/maturin build --release --locked --out dist

deb: wheel ## the Debian package of the wheel, and what it is made of as CycloneDX, into dist/
	deploy/debian/build.sh dist/tickd-*.whl dist
	$(BIN)/python scripts/sbom.py requirements/runtime.txt $(CARGO_MANIFEST) dist/sbom.json

lock: ## write requirements/*.txt again from pyproject.toml (needs uv)
	scripts/lock.sh

clean: ## remove everything that was built
	rm -rf $(VENV) .bench-venv .hft-venv build dist native/target tickd/_native*.so
