"""What is told of a file that is no TOML: line, column, key; never what stands behind a key. Pure.

A value without quotes is the usual fault, and a password the usual value: the message goes to a
terminal, a journal and a support bundle.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

__all__ = ["toml_fault"]

_AT: Final = re.compile(r"(?s)(.*) \(at line (\d+), column (\d+)\)")
# What the parser puts into its words comes out of the file: keys, characters, whatever it will be.
_QUOTED: Final = re.compile(r"\(.*\)|'(?!(?:=|\]{1,2}|\\)')[^']*'", re.DOTALL)
_KEY: Final = re.compile(r"\s*([\w.-]{1,80})\s*=", re.ASCII)
_TABLE: Final = re.compile(r"\s*(\[{1,2}[\w.-]{1,80}\]{1,2})", re.ASCII)
_LONG_QUOTES: Final = ('"""', "'''")


def toml_fault(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Return what is wrong, and where, in words of which none is a value of `text`."""
    words = str(error)
    found = _AT.fullmatch(words)
    what = found[1] if found else words.removesuffix(" (at end of document)")
    what = " ".join(_QUOTED.sub("", what).split())
    what = what[:1].lower() + what[1:]
    if found is None:
        return f"not TOML: {what} (at its end)"
    # Two of a name are told of at the second, which may be a table; a value is below a key.
    names = (_KEY, _TABLE) if what.startswith("cannot") else (_KEY,)
    key = _key(text, int(found[2]), names)
    return f"not TOML: {what} (at line {found[2]}, column {found[3]}{key and f', {key}'})"


def _key(text: str, line: int, names: tuple[re.Pattern[str], ...]) -> str:
    """What a line begins with; nothing where it may be inside of a text."""
    lines = text.replace("\r\n", "\n").split("\n")
    before = "\n".join(lines[: line - 1])
    if line > len(lines) or any(before.count(quotes) % 2 for quotes in _LONG_QUOTES):
        return ""
    matches = (name.match(lines[line - 1]) for name in names)
    return next((match[1] for match in matches if match), "")
