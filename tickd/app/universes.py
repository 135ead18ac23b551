"""Keeps ranked universes current: asks their sources, records snapshots, tells the plan.

A snapshot is taken when the last one is older than `refresh_seconds`, and lies in a file, so that a
restart begins with it. A source that fails or finds nothing changes nothing. Who is in, the pure
part in gateway/subscriptions/universe.py says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from gateway.config import UniverseConfig
from gateway.subscriptions.universe import Snapshot, rank
from gateway.venue import Figures
from tickd.errors import Action, TickdError
from tickd.ports import Clock

log = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
# After a failure; a scanner that refuses is not asked more often.
RETRY_S: Final = 60.0
NS_PER_S: Final = 1_000_000_000


class SourceNotReadyError(TickdError):
    """A source that is still starting: asked again at the next look, and no failure."""

    def __init__(self, words: str) -> None:
        super().__init__(words, action=Action.RETRY)


# What says how the symbols of a universe compare. Raises SourceNotReadyError, TickdError.
Ask = Callable[[UniverseConfig], Awaitable[Sequence[Figures]]]
# Takes the members of one universe; False: the plan refused them.
Swap = Callable[[str, tuple[str, ...]], bool]


class Universes:
    """All universes of a daemon. Loop only.

    Args: `directory`: of the files. Sources are joined by `ask_with` before anything runs.
    """

    def __init__(
        self,
        configs: Iterable[UniverseConfig],
        *,
        directory: Path,
        record: Callable[[dict[str, object]], object],
        clock: Clock,
    ) -> None:
        self._configs: dict[str, UniverseConfig] = {}
        self._sources: dict[str, Ask] = {}  # by `UniverseConfig.source`
        self._directory = directory
        self._record = record
        self._clock = clock
        self._swap: Swap = lambda _name, _symbols: True
        self._not_before_ns: dict[str, int] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.failures: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.changes: dict[str, int] = {}
        self.follow(configs)

    @property
    def members(self) -> dict[str, tuple[str, ...]]:
        """Universe -> who is in; those that nobody could rank yet are left out."""
        return {
            name: snapshot.symbols
            for name, snapshot in self.snapshots.items()
            if name in self._configs
        }

    def ask_with(self, source: str, ask: Ask) -> None:
        """What answers universes with this `source`."""
        self._sources[source] = ask

    def on_change(self, swap: Swap) -> None:
        """Who takes new members."""
        self._swap = swap

    def follow(self, configs: Iterable[UniverseConfig]) -> None:
        """Keep these universes from now on; one that is asked for differently is taken anew."""
        fresh = {each.name: each for each in configs}
        wall_ns = self._clock.wall_ns()
        for name, config in fresh.items():
            if self._configs.get(name) == config:
                continue
            self._not_before_ns.pop(name, None)
            snapshot = self.snapshots.get(name) or self._cached(config)
            if snapshot is not None and snapshot.is_usable(config, wall_ns):
                self.snapshots[name] = snapshot
            else:
                self.snapshots.pop(name, None)
            if name in self._configs:  # other bounds: what there was stands in, not for long
                self._not_before_ns[name] = 0
        for name in self.snapshots.keys() - fresh.keys():
            del self.snapshots[name]
        self._configs = fresh

    async def run(self) -> None:
        """For ever: take what is due."""
        while True:
            for config in list(self._configs.values()):
                if self._is_due(config):
                    await self.take(config)
            await self._clock.sleep(LOOK_S)

    def _is_due(self, config: UniverseConfig) -> bool:
        not_before_ns = self._not_before_ns.get(config.name)
        if not_before_ns is not None:
            return self._clock.mono_ns() >= not_before_ns
        snapshot = self.snapshots.get(config.name)
        return snapshot is None or not snapshot.is_fresh(config, self._clock.wall_ns())

    async def take(self, config: UniverseConfig) -> None:
        """Ask the source and swap the members, on record. Raises nothing."""
        name = config.name
        try:
            figures = await self._sources[config.source](config)
        except SourceNotReadyError:
            return
        except TickdError as error:
            self._failed(config, str(error))
            return
        if self._configs.get(name) != config:
            return  # a reload was faster
        before = self.snapshots[name].symbols if name in self.snapshots else ()
        snapshot = rank(config, figures, before, self._clock.wall_ns())
        if not snapshot.symbols:
            self._failed(config, f"{len(figures)} symbols, none of them can be ranked")
            return
        self._not_before_ns.pop(name, None)
        if snapshot.symbols != before or name not in self.changes:
            if not self._swap(name, snapshot.symbols):
                self.refusals[name] = self.refusals.get(name, 0) + 1
                self._retry(config, config.refresh_seconds)
                return
            self._record(snapshot.record(before))
            self.changes[name] = self.changes.get(name, 0) + 1
            log.info("universe_changed", universe=name, members=len(snapshot.symbols))
        self.snapshots[name] = snapshot
        self._keep(snapshot)

    def _failed(self, config: UniverseConfig, words: str) -> None:
        self.failures[config.name] = self.failures.get(config.name, 0) + 1
        self._retry(config, RETRY_S)
        log.warning("universe_failed", universe=config.name, source=config.source, words=words)

    def _retry(self, config: UniverseConfig, seconds: float) -> None:
        self._not_before_ns[config.name] = self._clock.mono_ns() + round(seconds * NS_PER_S)

    # The files ----------------------------------------------------------------------------------

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _cached(self, config: UniverseConfig) -> Snapshot | None:
        try:
            return msgspec.json.decode(self._file(config.name).read_bytes(), type=Snapshot)
        except (OSError, msgspec.MsgspecError):
            return None  # none, or of another version: taken anew

    def _keep(self, snapshot: Snapshot) -> None:
        """Best effort: a full disk costs a scan at the next start."""
        file = self._file(snapshot.name)
        temporary = file.with_suffix(".new")
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(snapshot))
            temporary.replace(file)

    # The picture --------------------------------------------------------------------------------

    def draw(self) -> list[dict[str, Any]]:
        """For `tickd status`."""
        wall_ns = self._clock.wall_ns()
        return [
            {
                "name": name,
                "venue": config.venue,
                "members": list(self.members.get(name, ())),
                "age_s": (wall_ns - self.snapshots[name].taken_ns) / NS_PER_S
                if name in self.snapshots
                else None,
                "changes": self.changes.get(name, 0),
                "failures": self.failures.get(name, 0),
                "refusals": self.refusals.get(name, 0),
            }
            for name, config in self._configs.items()
        ]
