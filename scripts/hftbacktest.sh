#!/usr/bin/env bash
# Makes .hft-venv, the environment in which tests replay exported files with hftbacktest, from hashed locks.
# Prints its interpreter. Usage: scripts/hftbacktest.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python3}"
lock=requirements/hftbacktest.txt
venv=.hft-venv
if [ ! -f "$venv/.requirements" ] || ! cmp -s "$lock" "$venv/.requirements"; then
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    # Written last: an interrupted run is begun anew.
    cp "$lock" "$venv/.requirements"
fi
echo "$PWD/$venv/bin/python"
