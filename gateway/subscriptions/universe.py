"""Ranked universes: which names of a venue are in, from figures that others have fetched. Pure.

A member stays while it is nearly good enough: names at the border do not come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from gateway.config import UniverseConfig
from gateway.limits import NS_PER_SECOND
from gateway.venue import Figures


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Who was in at one moment, the best first, and why. Also the form of the cache."""

    name: str
    venue: str
    source: str
    rank: str
    taken_ns: int  # wall clock
    symbols: tuple[str, ...]
    values: tuple[float, ...]  # what they were ranked by

    def is_fresh(self, config: UniverseConfig, wall_ns: int) -> bool:
        """Whether it need not be taken again; one from the future is not believed."""
        age_ns = wall_ns - self.taken_ns
        return self._is_of(config) and 0 <= age_ns < config.refresh_seconds * NS_PER_SECOND

    def is_usable(self, config: UniverseConfig, wall_ns: int) -> bool:
        """Whether it may stand in until there is a newer one."""
        age_ns = wall_ns - self.taken_ns
        return self._is_of(config) and 0 <= age_ns < config.stale_seconds * NS_PER_SECOND

    def _is_of(self, config: UniverseConfig) -> bool:
        mine = (self.name, self.venue, self.source, self.rank)
        return mine == (config.name, config.venue, config.source, config.rank)

    def record(self, before: Sequence[str]) -> dict[str, object]:
        """The control record of a change from `before`."""
        had, has = frozenset(before), frozenset(self.symbols)
        return {
            "kind": "universe",
            **msgspec.structs.asdict(self),
            "added": [symbol for symbol in self.symbols if symbol not in had],
            "removed": [symbol for symbol in before if symbol not in has],
        }


def rank(
    config: UniverseConfig, figures: Iterable[Figures], before: Sequence[str], taken_ns: int
) -> Snapshot:
    """The snapshot of `config`; `before`: the members until now.

    The first `count` by value are in; who was in stays among the first `count + keep`.
    """
    values = {
        each.symbol: value
        for each in figures
        if (value := each.value(config.rank)) is not None
        and value > 0  # NaN, too, is not
        and any(fnmatchcase(each.symbol, pattern) for pattern in config.symbols)
    }
    ranked = sorted(values, key=lambda symbol: (-values[symbol], symbol))
    had = frozenset(before)
    staying = [symbol for symbol in ranked[: config.count + config.keep] if symbol in had]
    chosen = set(staying[: config.count])
    for symbol in ranked:
        if len(chosen) >= config.count:
            break
        chosen.add(symbol)
    members = tuple(symbol for symbol in ranked if symbol in chosen)
    return Snapshot(
        name=config.name,
        venue=config.venue,
        source=config.source,
        rank=config.rank,
        taken_ns=taken_ns,
        symbols=members,
        values=tuple(values[symbol] for symbol in members),
    )
