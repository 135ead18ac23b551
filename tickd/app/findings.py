"""What a check found: OK, WARN or FAIL, in words, with what to do about it. Pure.

FAIL: something that was asked for does not work. WARN: it works, at a price that the words name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tickd.app.asking import AS_WHOM

__all__ = [
    "Finding", "Verdict", "as_rows", "fail", "failed", "ok", "safely", "summary", "table", "warn",
]  # fmt: skip


class Verdict(StrEnum):
    """How it stands with one thing."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """One check's answer; `remedy` is empty where nothing is to be done."""

    name: str
    verdict: Verdict
    words: str
    remedy: str = ""


_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def ok(name: str, words: str) -> Finding:
    return Finding(name, Verdict.OK, words)


def warn(name: str, words: str, remedy: str) -> Finding:
    return Finding(name, Verdict.WARN, words, remedy)


def fail(name: str, words: str, remedy: str) -> Finding:
    return Finding(name, Verdict.FAIL, words, remedy)


def failed(findings: Iterable[Finding]) -> bool:
    return any(each.verdict is Verdict.FAIL for each in findings)


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each verdict."""
    counts = {verdict.value: 0 for verdict in Verdict}
    for each in findings:
        counts[each.verdict.value] += 1
    return counts


def as_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """For JSON."""
    return [
        {
            "name": each.name,
            "verdict": each.verdict.value,
            "words": each.words,
            "remedy": each.remedy,
        }
        for each in findings
    ]


def table(findings: Iterable[Finding]) -> RenderableType:
    """For people; a remedy stands below what it mends."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for each in findings:
        shown.add_row(Text(each.verdict.value, _STYLES[each.verdict]), each.name, Text(each.words))
        if each.remedy:
            shown.add_row("", "", Text(f"→ {each.remedy}", "dim"))
    return shown


def safely(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """What a check found, or that it broke: whoever asks the doctor has trouble enough."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a finding, and the others are still to come
        words = f"this check could not be made: {type(error).__name__}: {error}"
        return [fail(name, words, f"{AS_WHOM}?")]
