"""The shell blocks of a page, by the first word of the section they stand in. Nothing is run."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

_PART = re.compile(
    r"^## (?P<title>.+?)$|^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Shown(NamedTuple):
    """What is typed, and what the page shows as its output; empty: nothing."""

    typed: str
    output: str


def blocks(page: Path) -> dict[str, list[str]]:
    """First word of a section's title -> its ```sh blocks."""
    found: dict[str, list[str]] = defaultdict(list)
    for title, kind, body in _parts(page):
        if kind == "sh":
            found[title.split()[0]].append(body)
    return dict(found)


def shown(page: Path) -> list[tuple[str, Shown]]:
    """(title, block and the ``` block that follows it, if one does), in the order of the page."""
    found: list[tuple[str, Shown]] = []
    for title, kind, body in _parts(page):
        if kind == "sh":
            found.append((title, Shown(body, "")))
        elif kind == "" and found:
            before, last = found[-1]
            assert not last.output, f"{title}: two outputs for {last.typed}"
            found[-1] = (before, Shown(last.typed, body))
    return found


def _parts(page: Path) -> list[tuple[str, str, str]]:
    title, found = "", []
    for part in _PART.finditer(page.read_text()):
        if part["title"]:
            title = part["title"]
        else:
            found.append((title, part["kind"], part["body"]))
    return found
