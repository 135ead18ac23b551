"""A real ClickHouse server for tests: runs as a program, `python tests/servers/libchdb.py
LIBCHDB.so DATA_DIR [PORT [CONFIG]]`; without a port the kernel picks one. CONFIG is a config.xml.

The npm package @chdb/lib-linux-x64-gnu carries `clickhouse local` as a library; since 26.6 that
listens on HTTP after SYSTEM START LISTEN. Prints {"http": port, "pid": pid} and lives until its
stdin closes.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path


def main(library: str, directory: str, port: str = "0", config: str = "") -> None:
    data = Path(directory).absolute()  # relative paths break tables with fsync_part_directory
    data.mkdir(parents=True, exist_ok=True)
    port_file = data.parent / f"{data.name}.port.tsv"
    port_file.unlink(missing_ok=True)
    lib = ctypes.CDLL(library)
    lib.chdb_query_cmdline.restype = ctypes.c_void_p
    lib.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    lib.chdb_result_error.restype = ctypes.c_char_p
    lib.chdb_result_error.argtypes = [ctypes.c_void_p]
    sql = (
        "SYSTEM START LISTEN HTTP;"
        f"SELECT getServerPort('http_port') INTO OUTFILE '{port_file}' FORMAT TSV;"
        # Holds the process: the listeners live as long as the query.
        "SELECT sum(sleepEachRow(1)) FROM numbers(864000) SETTINGS max_block_size = 1,"
        " max_threads = 1,"
        " function_sleep_max_microseconds_per_block = 0"
    )
    arguments = [
        b"clickhouse",
        b"--query",
        sql.encode(),
        f"--path={data}".encode(),
        b"--listen_host=127.0.0.1",
        f"--http_port={port}".encode(),
    ]
    if config:
        arguments.append(f"--config-file={config}".encode())
    threading.Thread(target=announce, args=(port_file,), daemon=True).start()
    result = lib.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
    sys.exit((lib.chdb_result_error(result) or b"").decode() if result else 1)


def announce(port_file: Path) -> None:
    for _ in range(1500):
        try:
            port = int(port_file.read_text())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1) as reply:
                if reply.read() == b"Ok.\n":
                    print(json.dumps({"http": port, "pid": os.getpid()}), flush=True)  # noqa: T201
                    break
        except (OSError, ValueError, urllib.error.URLError):
            time.sleep(0.02)
    sys.stdin.read()
    os._exit(0)  # parts on disk are atomic: nothing is left to save


if __name__ == "__main__":
    main(*sys.argv[1:])
