"""Prints the man page of tickd, made of what `tickd --help` and `tickd COMMAND --help` say.

Run by the interpreter in which tickd is installed. It knows no command by name, so that the page
cannot say anything else than the program.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from tickd.app.cli import COMMANDS, build
from tickd.app.exit_codes import ExitCode
from tickd.native import VERSION

WIDTH = 78
FRAME = "╭╮╰╯─│"


def help_of(command: str) -> str:
    """What the program says when it is asked for help."""
    os.environ["COLUMNS"] = str(WIDTH)
    out = io.StringIO()
    words = [command, "--help"] if command else ["--help"]
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        build(command)(words, result_action="return_value")
    return "\n".join(unboxed(line) for line in out.getvalue().splitlines())


def unboxed(line: str) -> str:
    """A line of a table without its frame."""
    if line.startswith("\N{BOX DRAWINGS LIGHT ARC UP AND RIGHT}"):
        return ""
    if line.startswith("\N{BOX DRAWINGS LIGHT ARC DOWN AND RIGHT}"):
        return line.strip(FRAME + " ") + ":"
    return line.strip(FRAME).rstrip() if line[:1] in FRAME else line


def escaped(text: str) -> str:
    """Text that roff prints as it is."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").rstrip().splitlines()
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line.rstrip() for line in lines)


def literal(text: str) -> Iterator[str]:
    yield ".nf"
    yield escaped(text)
    yield ".fi"


def page() -> Iterator[str]:
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    day = datetime.fromtimestamp(seconds, UTC).date().isoformat()
    yield f'.TH TICKD 1 "{day}" "tickd {VERSION}" "User Commands"'
    yield ".SH NAME"
    yield escaped("tickd - market-data gateway and tick recorder")
    yield ".SH SYNOPSIS"
    yield ".B tickd"
    yield ".I command"
    yield escaped("[argument ...] [--option ...]")
    yield ".SH DESCRIPTION"
    yield from literal(help_of(""))
    yield ".SH COMMANDS"
    for command in COMMANDS:
        yield f'.SS "{escaped(command)}"'
        yield from literal(help_of(command))
    yield ".SH EXIT STATUS"
    for code in ExitCode:
        yield ".TP"
        yield f".B {code.value}"
        yield escaped(code.name.lower().replace("_", " "))
    yield ".SH FILES"
    for path, text in (
        ("/etc/tickd/tickd.toml", "the configuration of the unit tickd.service"),
        ("/etc/tickd/credentials/", "secrets, one per file, readable by root only"),
        ("/var/lib/tickd/", "raw log, plan, spool and latch of that daemon"),
        ("/usr/share/doc/tickd/", "examples and the runbooks of its alerts"),
    ):
        yield ".TP"
        yield f".I {escaped(path)}"
        yield escaped(text)
    yield ".SH SEE ALSO"
    yield ".BR systemctl (1),"
    yield ".BR journalctl (1),"
    yield ".BR prometheus (1)"


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()) + "\n")
