"""Topic names `channel.venue.symbol`, the patterns that select them, the tables of channels.

Pure. The symbol is the venue's own and may contain dots; channel and venue never do. Numbers of
interned topics belong to the decoder, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from tickd.errors import Action, TickdError

__all__ = ["CHANNELS", "CHANNEL_TABLES", "EVERYTHING", "Pattern", "Selection", "Topic"]

# The names of `native/core/src/topic.rs`.
CHANNELS: Final = (
    "trade",
    "aggtrade",
    "quote",
    "depth",
    "mark",
    "index",
    "funding",
    "open_interest",
    "liquidation",
    "book_state",
    "status",
    "gap",
    "backfill",
    "clock",
    "order",
    "signal",
)
# The table that holds a channel's rows, in the order of `CHANNELS`. The channels that are not here
# (clock, order, signal) have no rows among the recorded events.
CHANNEL_TABLES: Final[Mapping[str, str]] = {
    "trade": "trades",
    "aggtrade": "trades",
    "quote": "quotes",
    "depth": "book",
    "mark": "marks",
    "index": "marks",
    "funding": "marks",
    "open_interest": "marks",
    "liquidation": "liquidations",
    "book_state": "states",
    "status": "states",
    "gap": "gaps",
    "backfill": "trades",
}
EVERYTHING: Final = "*"
_ANY: Final = "*"


class Topic(NamedTuple):
    """A topic in its three parts."""

    channel: str
    venue: str
    symbol: str

    @classmethod
    def parse(cls, name: str) -> Topic:
        """Return the parts of `name`.

        Raises TickdError(FATAL) when it is not `channel.venue.symbol`.
        """
        parts = name.split(".", 2)
        if len(parts) != 3 or not all(parts):
            raise TickdError(
                f"not a topic: {name!r}", action=Action.FATAL, hint="channel.venue.symbol"
            )
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.channel}.{self.venue}.{self.symbol}"


class Pattern(NamedTuple):
    """A selection of topics: each part is exact or `*`; a lone `*` selects everything."""

    channel: str
    venue: str
    symbol: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Return the pattern.

        Raises TickdError(FATAL): unknown channel, part missing, `*` inside a part.
        """
        if text == EVERYTHING:
            return cls(_ANY, _ANY, _ANY)
        parts = text.split(".", 2)
        if len(parts) != 3 or not all(parts):
            raise TickdError(
                f"not a topic pattern: {text!r}",
                hint="channel.venue.symbol, each exact or *, or a lone *",
            )
        if parts[0] != _ANY and parts[0] not in CHANNELS:
            raise TickdError(
                f"unknown channel {parts[0]!r} in pattern {text!r}",
                hint="one of " + ", ".join(CHANNELS),
            )
        for part in parts:
            if _ANY in part and part != _ANY:
                raise TickdError(
                    f"a star stands for a whole part: {part!r} in pattern {text!r}",
                    hint="write channel.venue.symbol with whole parts",
                )
        return cls(*parts)

    def matches(self, topic: Topic) -> bool:
        """Whether `topic` belongs to the selection."""
        return (
            self.channel in (_ANY, topic.channel)
            and self.venue in (_ANY, topic.venue)
            and self.symbol in (_ANY, topic.symbol)
        )

    @property
    def everything(self) -> bool:
        return self == (_ANY, _ANY, _ANY)

    def __str__(self) -> str:
        return EVERYTHING if self.everything else f"{self.channel}.{self.venue}.{self.symbol}"


class Selection:
    """Several patterns as one: exact names by look-up, wildcards one after the other."""

    __slots__ = ("_exact", "_wild", "patterns")

    def __init__(self, patterns: str | Iterable[str]) -> None:
        texts = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self.patterns: Final = tuple(Pattern.parse(text) for text in texts)
        self._exact = frozenset(tuple[str, str, str](p) for p in self.patterns if _ANY not in p)
        self._wild = tuple(p for p in self.patterns if _ANY in p)
        if not self.patterns:
            raise TickdError("no pattern given", hint="use * for everything")

    def matches(self, topic: Topic) -> bool:
        """Whether any of the patterns selects `topic`."""
        return topic in self._exact or any(pattern.matches(topic) for pattern in self._wild)
