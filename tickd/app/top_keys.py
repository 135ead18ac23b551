"""What a key does in `tickd top`: a view and a key in, the next view and perhaps a wish out. Pure.

It knows no terminal and no daemon; `tickd/app/commands/top.py` has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from tickd.app.top import FILTER_CHARACTERS_MAX, SORTS

__all__ = ["KILL_WORD", "Page", "View", "Wish", "keys_of", "press"]

Page = Literal["topics", "topic", "gaps", "strategies", "risk", "help"]
Wish = Literal["quit", "kill"]

# To be typed in full: the key beside it, and a cat on the keyboard, halt nothing.
KILL_WORD: Final = "kill"
_SEQUENCES: Final = {
    b"\x1b[A": "up", b"\x1bOA": "up",
    b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[5~": "page_up", b"\x1b[6~": "page_down",
    b"\x1b[H": "home", b"\x1b[F": "end",
}  # fmt: skip
_CONTROLS: Final = {
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace",
    "\x1b": "escape", "\x03": "interrupt", "\x15": "clear",
}  # fmt: skip
_PAGES: Final[dict[str, Page]] = {
    "g": "gaps",
    "t": "strategies",
    "r": "risk",
    "h": "help",
    "?": "help",
}
PAGE_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at, and what is being typed.

    `typing`: which line takes the keys; empty: none, keys are commands.
    """

    page: Page = "topics"
    sort: str = SORTS[0]
    filter: str = ""
    paused: bool = False
    selected: int = 0
    topic: str = ""
    typing: Literal["", "filter", "kill"] = ""
    typed: str = ""
    said: str = ""


def keys_of(data: bytes) -> list[str]:
    """Names of the keys whose bytes a terminal sent; what is no key we know is left out."""
    keys: list[str] = []
    while data:
        for sequence, name in _SEQUENCES.items():
            if data.startswith(sequence):
                keys.append(name)
                data = data[len(sequence) :]
                break
        else:
            if data.startswith((b"\x1b[", b"\x1bO")):
                end = next((at for at in range(2, len(data)) if data[at] >= 0x40), len(data) - 1)
                data = data[end + 1 :]
                continue
            length = max(1, _utf8_length(data[0]))
            text = data[:length].decode(errors="ignore")
            data = data[length:]
            if text in _CONTROLS:
                keys.append(_CONTROLS[text])
            elif text.isprintable() and text:
                keys.append(text)
    return keys


def _utf8_length(first: int) -> int:
    if first < 0xC0:
        return 1
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def press(  # noqa: C901, PLR0911 - a table of keys
    view: View, key: str, rows: Sequence[str] = ()
) -> tuple[View, Wish | None]:
    """Return the view after `key`, and what has to be done.

    Args: `rows`: names of the topics that are shown, for what is selected.
    """
    if key == "interrupt":
        return view, "quit"
    if view.typing:
        return _type(view, key)
    view = replace(view, said="")
    if key in ("up", "down", "page_up", "page_down", "home", "end"):
        return replace(view, selected=_moved(view.selected, key, len(rows))), None
    match key:
        case "q":
            return view, "quit"
        case "s" if view.page == "topics":
            after = SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)]
            return replace(view, sort=after, selected=0), None
        case "S" if view.page == "topics":
            return replace(view, sort=SORTS[SORTS.index(view.sort) - 1], selected=0), None
        case "/" if view.page in ("topics", "gaps"):
            return replace(view, typing="filter", typed=view.filter), None
        case "p" | " ":
            return replace(view, paused=not view.paused), None
        case "k":
            return replace(view, typing="kill", typed=""), None
        case "enter" if view.page == "topics" and rows:
            name = rows[min(view.selected, len(rows) - 1)]
            return replace(view, page="topic", topic=name), None
        case "escape":
            return _back(view), None
    if key in _PAGES:
        return replace(view, page="topics" if view.page == _PAGES[key] else _PAGES[key]), None
    return view, None


def _back(view: View) -> View:
    """One step towards the list of everything."""
    if view.page != "topics":
        return replace(view, page="topics")
    return replace(view, filter="", selected=0)


def _moved(selected: int, key: str, count: int) -> int:
    steps = {"up": -1, "down": 1, "page_up": -PAGE_ROWS, "page_down": PAGE_ROWS}
    if key in steps:
        selected += steps[key]
    else:
        selected = 0 if key == "home" else count - 1
    return max(0, min(selected, count - 1))


def _type(  # noqa: PLR0911 - a table of keys
    view: View, key: str
) -> tuple[View, Wish | None]:
    """A key while a line is typed."""
    match key:
        case "escape":
            said = "nothing was halted" if view.typing == "kill" else ""
            return replace(view, typing="", typed="", said=said), None
        case "backspace":
            return replace(view, typed=view.typed[:-1]), None
        case "clear":
            return replace(view, typed=""), None
        case "enter" if view.typing == "filter":
            return replace(view, typing="", typed="", filter=view.typed, selected=0), None
        case "enter":
            if view.typed == KILL_WORD:
                return replace(view, typing="", typed=""), "kill"
            said = f"nothing was halted: {view.typed!r} is not {KILL_WORD!r}"
            return replace(view, typing="", typed="", said=said), None
    if len(key) == 1 and len(view.typed) < FILTER_CHARACTERS_MAX:
        return replace(view, typed=view.typed + key), None
    return view, None
