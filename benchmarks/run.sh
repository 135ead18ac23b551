#!/usr/bin/env bash
# Every benchmark in one run: prints the figures, writes RESULTS.md and ratios.json beside itself.
# Usage: benchmarks/run.sh [--check] [--seconds N] [--rounds N] [NAME...]
#   --check   measure only the committed ratios and fail when one fell by more than 10 %
# The peers (cryptofeed) live in an environment of their own, .bench-venv, or in $TICKD_BENCH_VENV.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
export TICKD_BENCH_VENV="${TICKD_BENCH_VENV:-.bench-venv}"
if [ ! -x "$TICKD_BENCH_VENV/bin/python" ]; then
    echo "making $TICKD_BENCH_VENV from requirements/bench.txt" >&2
    "$python" -m venv "$TICKD_BENCH_VENV"
    "$TICKD_BENCH_VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r requirements/bench.txt
fi
exec "$python" benchmarks/run.py "$@"
