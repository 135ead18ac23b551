#!/usr/bin/env bash
# Says exactly what is missing before a build starts, and how to get it. Changes nothing.
set -u
python=${1:-python3}
missing=()
command -v "$python" >/dev/null || missing+=("Python 3.11 or newer ($python): apt-get install python3")
if command -v "$python" >/dev/null; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        missing+=("Python 3.11 or newer; $("$python" --version) is too old: make PYTHON=python3.11 …")
    "$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("Python's venv module: apt-get install python3-venv")
fi
command -v cc >/dev/null || missing+=("a C compiler (cc): apt-get install build-essential")
if command -v cargo >/dev/null; then
    minor=$(cargo --version | sed -E 's/^cargo 1\.([0-9]+).*/\1/')
    [ "$minor" -ge 85 ] || missing+=("Rust 1.85 or newer; $(cargo --version) is too old: rustup update")
else
    missing+=("cargo (Rust 1.85 or newer): install rustup, or apt-get install rustup && rustup default stable")
fi
if [ ${#missing[@]} -gt 0 ]; then
    echo "tickd cannot be built here; missing:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
fi
