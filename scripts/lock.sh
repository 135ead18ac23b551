#!/usr/bin/env bash
# Writes the hashed dependency locks from pyproject.toml. Needs uv on PATH or in .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
compile() {
    local out=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 \
        --custom-compile-command "make lock" --output-file "requirements/$out" "$@"
}
compile runtime.txt pyproject.toml --extra embedded --extra ship --extra export --extra tracing --extra postgres
compile dev.txt pyproject.toml --extra embedded --extra ship --extra export --extra tracing --extra postgres --extra dashboards --extra test --extra oracles --extra lint requirements/build.in
compile bench.txt requirements/bench.in
compile pure.txt requirements/pure.in
compile hftbacktest.txt requirements/hftbacktest.in
