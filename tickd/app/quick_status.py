"""`tickd status FILE [--json]` at once: watches and probes call it often, on a busy machine.

Only what it needs is loaded. Whatever is not plain (other options, a file that cannot be read, no
daemon) is left to the command line, which explains it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from tickd.app.asking import ask_plainly, not_answered, state_dir_of
from tickd.errors import TickdError

__all__ = ["leave", "quick_status"]

FAILED = 1  # as in `exit_codes.py`


def quick_status(arguments: list[str]) -> bool:
    """Whether the answer was printed. `arguments`: behind `tickd status`.

    Raises SystemExit: the daemon hangs, and that was said; who asks again would wait as long again.
    """
    files = [each for each in arguments if not each.startswith("-")]
    if len(files) != 1 or any(each not in (*files, "--json") for each in arguments):
        return False
    gc.disable()  # a moment's work, and nothing goes round
    path = Path(files[0])
    try:
        path = state_dir_of(path) / "control.sock"
        answer = ask_plainly(path, "status")
    except TimeoutError as error:
        fault = not_answered(path, error)
        sys.stderr.write(f"tickd: {fault}\n  hint: {fault.hint}\n")
        raise SystemExit(FAILED) from error
    except (OSError, ValueError, TypeError, AttributeError, TickdError):
        gc.enable()
        return False
    if "--json" in arguments:
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    else:
        from tickd.app.screen import print_status  # noqa: PLC0415 - as dear as all the rest

        print_status(answer, None)
    return True


def leave() -> None:
    """End the process without taking the interpreter down piece by piece."""
    with suppress(OSError):  # whoever read has gone
        sys.stdout.flush()
    os._exit(0)
