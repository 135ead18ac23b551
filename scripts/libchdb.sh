#!/usr/bin/env bash
# Fetches a real ClickHouse server for tests: libchdb.so out of the npm package, by name, checked, unpacked once.
# Prints the path of the library. Usage: scripts/libchdb.sh [TARGET_DIR]   (default build/libchdb)
set -euo pipefail

version=26.7.3-stable.1
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) package="@chdb/lib-linux-x64-gnu" ;;
    *) echo "libchdb: no pinned package for $(uname -s) $(uname -m)" >&2; exit 2 ;;
esac
sha512=5cff7b98caa7739b59a4a432c11f0dedc2d3b073624e61ebdf4a42e66ce8de35a6ba48ca9f62016bad1cd81fe059435cb858ce3235a8a2b408082a81563e70a7
target="${1:-build/libchdb}/$version"
library="$target/libchdb.so"

if [ ! -f "$library" ]; then
    command -v npm >/dev/null || { echo "libchdb: npm is needed to fetch $package@$version" >&2; exit 2; }
    mkdir -p "$target"
    work="$(mktemp -d "$target/fetch.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    npm pack --silent --pack-destination "$work" "$package@$version" >/dev/null
    archive="$(echo "$work"/*.tgz)"
    echo "$sha512  $archive" | sha512sum --check --quiet --strict
    tar -xzf "$archive" -C "$work" package/libchdb.so
    # Moved into place last: an interrupted run leaves no half library behind.
    mv "$work/package/libchdb.so" "$library"
fi
echo "$(cd "$target" && pwd)/libchdb.so"
