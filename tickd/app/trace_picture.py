"""A trace as text: one line per span, its bar where and as long as it was, flame-like.

Pure: plain values in, lines out. The scale follows the quick part (socket to strategies and order);
what the recorder does afterwards is cut off at the right edge and said in numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["picture"]

# What a batch waits for in the recorder takes a second and says nothing about its latency.
_LATER: Final = ("write ", "sync ", "store ")
_NAME_WIDTH: Final = 30
_TIME_WIDTH: Final = 10
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
WIDTH_MIN: Final = 70


def picture(trace: Mapping[str, Any], *, width: int = 110) -> list[str]:
    """Return the lines of a trace as the control command `traces` gives it."""
    spans: Sequence[Mapping[str, Any]] = trace["spans"]
    root = spans[0]
    began_ns = root["began_ns"]
    quick = [span for span in spans[1:] if not span["name"].startswith(_LATER)]
    scale_ns = max(1, max((span["ended_ns"] for span in quick), default=0) - began_ns)
    bars = max(WIDTH_MIN, width) - _NAME_WIDTH - 2 * _TIME_WIDTH - 2
    about = root["attributes"]
    lines = [
        (
            f"batch that ends with frame {trace['frame_last']} of node {about['tickd.node']}: "
            f"{trace['events']} events of {about['tickd.venues'] or 'no venue'} "
            f"({about['tickd.channels']})"
        ),
        (
            f"{_duration(trace['latency_ns'])} from the socket to the bus and the strategies; "
            f"traced for {about['tickd.traced_for']}; trace {trace['trace_id']}"
        ),
    ]
    if not about["tickd.whole"]:
        lines.append("not everything was known when this was made: a stage is missing below")
    scale = f"|{'0':<{bars // 2}}{_duration(scale_ns):>{bars - bars // 2}}|"
    lines += ["", f"{'':<{_NAME_WIDTH}}{'begins':>{_TIME_WIDTH}}{'takes':>{_TIME_WIDTH}} {scale}"]
    for depth, span in _walk(spans):
        begin_ns = span["began_ns"] - began_ns
        took_ns = span["ended_ns"] - span["began_ns"]
        name = "  " * depth + _named(span)
        if len(name) > _NAME_WIDTH - 1:
            name = name[: _NAME_WIDTH - 2] + "…"
        times = f"{_duration(begin_ns):>{_TIME_WIDTH}}{_duration(took_ns):>{_TIME_WIDTH}}"
        bar = _bar(begin_ns / scale_ns, (begin_ns + took_ns) / scale_ns, bars)
        lines.append(f"{name:<{_NAME_WIDTH}}{times} |{bar}|")
    return lines


def _walk(spans: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """Every span below its parent, in the order of their beginnings, with its depth."""
    below: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        below.setdefault(span["parent_id"], []).append(span)
    walked: list[tuple[int, Mapping[str, Any]]] = []
    # A tree is no deeper than it has spans.
    left = [(0, span) for span in reversed(_ordered(below.get("", [])))]
    while left:
        depth, span = left.pop()
        walked.append((depth, span))
        left += [(depth + 1, each) for each in reversed(_ordered(below.get(span["span_id"], [])))]
    return walked


def _ordered(spans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(spans, key=lambda span: (span["name"].startswith(_LATER), span["began_ns"]))


def _named(span: Mapping[str, Any]) -> str:
    """The name, with the gate's answer, and to what: a new order unless it is said."""
    name: str = span["name"].removesuffix(" market-data")
    about = span["attributes"]
    verdict, reason = about.get("tickd.verdict", ""), about.get("tickd.reason", "")
    if not verdict:
        return name
    action = about.get("tickd.action", "new")
    asked = name if action == "new" else f"decide {action}"
    return f"{asked}: {reason or verdict}"


def _bar(begin: float, end: float, width: int) -> str:
    """A bar of eighths between two shares of the width; `>`: it goes on beyond the edge."""
    goes_on = end > 1.0005
    first, last = (min(1.0, max(0.0, share)) * width for share in (begin, end))
    start, cells = int(first), ""
    if start >= width:
        return " " * (width - 1) + (">" if goes_on else "▏")
    length = last - start
    cells = "█" * int(length)
    cells += _EIGHTHS[int((length % 1) * 8)].strip() or ("" if cells else "▏")
    text = (" " * start + cells)[:width].ljust(width)
    return text[:-1] + ">" if goes_on else text


def _duration(ns: int) -> str:
    for unit, scale in (("s", 1e9), ("ms", 1e6)):
        if ns >= scale:
            return f"{ns / scale:.2f} {unit}"
    return f"{ns / 1e3:.1f} µs"
