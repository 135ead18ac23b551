"""Where small daemons that are to be killed come from: one process that forks each of them, so
that a life costs milliseconds.

Usage: `python -m tests.servers.crash_nursery [NATIVE.so]`, the native module with places to die at
instead of the installed one. Each line on stdin is an order (JSON) for one life; the answer is a
line with its pid, and another one with its exit code when it has ended.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from importlib import import_module

import structlog

import tickd


def load_native(path: str) -> None:
    """Take the native module from `path`, before anything imports the installed one."""
    spec = importlib.util.spec_from_file_location("tickd._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tickd._native"] = module
    spec.loader.exec_module(module)
    tickd._native = module  # type: ignore[attr-defined]


def main() -> None:
    if len(sys.argv) > 1:
        load_native(sys.argv[1])
    live = import_module("tests.servers.crash_life").live
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(0)
                live(order)
                code = 0
            except BaseException:  # noqa: BLE001 - the parent's loop must not go on in the child
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
