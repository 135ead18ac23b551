"""Which rows are wanted: topic patterns against the instruments that a source knows.

Pure. A row's topic follows from its table, its flags or kind, and its instrument, so that rows of
the raw log and of ClickHouse are chosen by one rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import numpy as np
import numpy.typing as npt

from backtest.export.errors import ExportError, RefusedRowsError
from tickd.events import Flag
from tickd.rows import NO_INSTRUMENT, Definition, Mask, TableRows
from tickd.topics import CHANNEL_TABLES, Pattern, Topic

__all__ = ["Selected"]

# Tables of several channels: the value of the telling column, per channel.
_MARK_KINDS: Final = {"mark": 1, "index": 2, "funding": 3, "open_interest": 4}
_STATE_KINDS: Final = {"book_state": 1, "status": 2}
_SHOWN_MAX: Final = 3


class Selected:
    """The instruments chosen per channel."""

    def __init__(self, patterns: Sequence[str], definitions: Mapping[int, Definition]) -> None:
        """Resolve `patterns`. Raises ExportError when one selects nothing, TickdError on syntax."""
        self.patterns: Final = tuple(patterns)
        known = (*definitions.values(), NO_INSTRUMENT)
        chosen: dict[str, set[int]] = {}
        for text in patterns:
            pattern = Pattern.parse(text)
            found = False
            for definition in known:
                for channel in CHANNEL_TABLES:
                    if pattern.matches(Topic(channel, definition.venue, definition.symbol)):
                        chosen.setdefault(channel, set()).add(definition.instrument)
                        found = True
            if not found:
                raise _nothing(pattern, known)
        self.everything: Final = any(Pattern.parse(text).everything for text in patterns)
        self.channels: Final = tuple(channel for channel in CHANNEL_TABLES if channel in chosen)
        self.tables: Final = tuple(dict.fromkeys(CHANNEL_TABLES[each] for each in self.channels))
        self._chosen = {
            channel: np.array(sorted(ids), np.uint32) for channel, ids in chosen.items()
        }
        self._definitions = {definition.instrument: definition for definition in known}

    @property
    def instruments(self) -> tuple[Definition, ...]:
        """Every chosen instrument, by venue and symbol."""
        ids = {int(each) for chosen in self._chosen.values() for each in chosen}
        return tuple(
            sorted((self._definitions[each] for each in ids), key=lambda d: d[1:3] + d[:1])
        )

    def instruments_of(self, table: str) -> tuple[Definition, ...]:
        """The chosen instruments that may have rows in `table`."""
        ids = {int(each) for c in self._channels(table) for each in self._chosen[c]}
        return tuple(each for each in self.instruments if each.instrument in ids)

    def take(self, rows: TableRows) -> TableRows:
        """Return the wanted rows. Raises RefusedRowsError for a row that nobody defined."""
        instruments = rows.integers("instrument")
        wanted = np.zeros(len(rows), np.bool_)
        for channel in self._channels(rows.table):
            of_channel = _of_channel(rows, channel)
            wanted |= of_channel & np.isin(instruments, self._chosen[channel])
            if self.everything:
                self._refuse_unknown(rows, instruments[of_channel])
        return rows.take(wanted)

    def _channels(self, table: str) -> Iterable[str]:
        return (each for each in self.channels if CHANNEL_TABLES[each] == table)

    def _refuse_unknown(self, rows: TableRows, instruments: npt.NDArray[np.integer]) -> None:
        unknown = set(np.unique(instruments).tolist()) - self._definitions.keys()
        if unknown:
            raise RefusedRowsError(
                f"{rows.table} holds rows of instrument {min(unknown)}, which nobody defined",
                hint="name the topics that you want",
            )


def _of_channel(rows: TableRows, channel: str) -> Mask:
    match CHANNEL_TABLES[channel]:
        case "trades":
            flags = rows.integers("flags")
            fetched = (flags & int(Flag.BACKFILLED)) != 0  # later, and not in order
            if channel == "backfill":
                return np.asarray(fetched)
            merged = (flags & int(Flag.AGGREGATE)) != 0
            return np.asarray((merged if channel == "aggtrade" else ~merged) & ~fetched)
        case "marks":
            return np.asarray(rows.integers("kind") == _MARK_KINDS[channel])
        case "states":
            return np.asarray(rows.integers("kind") == _STATE_KINDS[channel])
    return np.ones(len(rows), np.bool_)


def _nothing(pattern: Pattern, known: Sequence[Definition]) -> ExportError:
    """The error for a pattern without a match, naming what comes nearest."""
    exact = pattern.channel in CHANNEL_TABLES
    channels = (pattern.channel,) if exact else tuple(CHANNEL_TABLES)
    names = [
        f"{channel}.{each.venue}.{each.symbol}"
        for channel in channels
        for each in known
        if each != NO_INSTRUMENT or channel == "gap"
    ]
    near = get_close_matches(str(pattern), names, n=_SHOWN_MAX, cutoff=0.5)
    shown = ", ".join(near or sorted(names)[:_SHOWN_MAX])
    return ExportError(f"no instrument matches {str(pattern)!r}", hint=f"there is {shown}")
