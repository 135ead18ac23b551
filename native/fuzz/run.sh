#!/usr/bin/env bash
# Builds every fuzz target with coverage and address checks on the stable compiler, and runs each for SECONDS.
# A finding is left in artifacts/<target>/ and fails the run.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-30}
# What cargo-fuzz passes; the sanitizer alone is unstable, hence RUSTC_BOOTSTRAP.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
 -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address --cfg fuzzing"
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(tr '\n' ' ' <<<"$flags")" cargo build --release --quiet --target "$target"
for name in ${TARGETS:-decode records decimal control checkpoint blocks}; do
    mkdir -p "corpus/$name" "artifacts/$name"
    seeds=()
    [[ -d seeds/$name ]] && seeds=("seeds/$name")
    echo "== $name: $seconds s"
    "target/$target/release/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -verbosity=0 \
        -print_final_stats=0 -print_funcs=0 -dict=wire.dict -artifact_prefix="artifacts/$name/" "corpus/$name" "${seeds[@]}" 2>&1 |
        grep -vE '^(INFO|Dictionary)' || test "${PIPESTATUS[0]}" = 0
done
