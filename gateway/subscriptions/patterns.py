"""Patterns `venue:symbol@channel` that select streams of a venue.

Pure: reads text, compares names. Which symbols exist says whoever asks (`wishes.py`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.errors import PatternError
from tickd.topics import CHANNELS

ANY: Final = "*"
_GLOB: Final = re.compile(r"[*?\[]")
_UNIVERSE: Final = re.compile(r"\{(.+)\}")
_SHAPE: Final = "write venue:symbol@channel, as in okx:BTC-*@trade; a ! in front excludes"


class Pattern(NamedTuple):
    """One pattern: the venue exact; the symbol exact, a glob or a `{universe}`; the channel.

    A channel of `*` means all that the venue's table has.

    excludes: takes symbols out of what the patterns of its group select.
    """

    venue: str
    symbol: str
    channel: str
    excludes: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Return the pattern. Raises PatternError."""
        body = text.removeprefix("!")
        venue, colon, rest = body.partition(":")
        # The last one: no channel has an @, a venue's symbols might.
        symbol, at, channel = rest.rpartition("@")
        if not (colon and at and venue and symbol and channel):
            raise PatternError(f"not a pattern: {text[:80]!r}", hint=_SHAPE)
        if _GLOB.search(venue):
            raise PatternError(
                f"pattern {text[:80]!r}: a venue is named, not matched",
                hint="one pattern for each venue",
            )
        if channel not in (ANY, *CHANNELS):
            raise PatternError(
                f"pattern {text[:80]!r}: unknown channel {channel[:40]!r}",
                hint=_closest(channel, CHANNELS) or f"one of {', '.join(CHANNELS)}, or *",
            )
        return cls(venue, symbol, channel, text.startswith("!"))

    @property
    def exact(self) -> bool:
        """Whether it names one symbol: that may be wanted before the venue lists it."""
        return not self.is_glob and self.universe is None

    @property
    def is_glob(self) -> bool:
        """Whether it has to be matched against all symbols of the venue."""
        return _GLOB.search(self.symbol) is not None

    @property
    def universe(self) -> str | None:
        """The universe whose members it selects."""
        found = _UNIVERSE.fullmatch(self.symbol)
        return found[1] if found else None

    def matches(self, symbol: str) -> bool:
        """Whether it selects `symbol` by its name; upper and lower case are different."""
        return symbol == self.symbol if self.exact else fnmatchcase(symbol, self.symbol)

    def __str__(self) -> str:
        return f"{'!' * self.excludes}{self.venue}:{self.symbol}@{self.channel}"


@lru_cache(maxsize=4096)
def parse(text: str) -> Pattern:
    """`Pattern.parse`, remembered: a plan is made of the same few patterns again and again."""
    return Pattern.parse(text)


def explain_nothing(pattern: Pattern, symbols: Iterable[str]) -> str:
    """Why `pattern` selects none of `symbols`, and what to do, in a sentence."""
    listed = sorted(symbols)
    if not listed:
        return f"pattern {pattern} selects nothing: {pattern.venue} lists no symbol yet"
    advice = _closest(pattern.symbol, listed)
    if not advice and any(fnmatchcase(each.upper(), pattern.symbol.upper()) for each in listed):
        advice = "the venue writes its symbols in another case"
    sample = ", ".join(listed[:3]) + (" …" if len(listed) > 3 else "")
    return (
        f"pattern {pattern} selects none of the {len(listed)} symbols of {pattern.venue}"
        f" ({sample}); {advice or 'see its list with: tickd plan CONFIG --symbols'}"
    )


def _closest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word.strip("*?"), list(known), n=3, cutoff=0.7)
    return f"did you mean {', '.join(found)}?" if found else ""
