"""Which segments may be removed here, and their removal: only what the store verifiably holds.

`removable` is the rule, pure. A segment stays while any of this is true: it is not shipped and read
back; the sink may still read it; a decoder would have to begin in it; it is young, or among the
newest `keep_bytes_min`. Under pressure the last reason does not count, the others always do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from recorder.raw.segments import sealed_names
from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.ship.files import Folders
from recorder.ship.keeper import Keeper
from recorder.ship.ledger import Ledger, Segment, note_line
from recorder.ship.store import Bucket, Stat
from tickd.ports import Clock

__all__ = ["Removed", "Retention", "removable"]

_log = structlog.get_logger(__name__)

_DAY_NS: Final = 86_400 * 10**9
_NOTHING_NEEDED: Final = 1 << 64


def removable(
    segments: Sequence[Segment],
    present: Collection[str],
    *,
    config: ShipConfig,
    now_ns: int,
    frame_needed: int,
    reclaim_bytes: int = 0,
) -> list[list[Segment]]:
    """Return what may go, oldest first, in runs that go together, each newest first.

    A run is one segment nearly always; a suspect one comes after those that decode from it, so that
    at no moment one of these is here alone.

    Args: `segments`: all, in the order of their frames; `present`: names of those that are here;
    `frame_needed`: the first frame that the sink may still read; `reclaim_bytes`: so much is
    wanted now, whatever the age.
    """
    if config.keep_days is None:
        return []
    young_ns = now_ns - config.keep_days * _DAY_NS
    found: list[list[Segment]] = []
    kept_bytes = 0
    checkpoint_kept = False  # where the next start begins to decode
    follower_needs = False  # the next newer one has no checkpoint of its own, and stays
    run_open = False  # the next newer one has none either, and goes
    for index in range(len(segments) - 1, -1, -1):
        segment = segments[index]
        # Behind a failed sync the log goes on without a checkpoint: see docs/formats/raw-log.md.
        continues = index > 0 and segments[index - 1].suspect
        if segment.name not in present:
            follower_needs = run_open = False
            continue
        is_young = max(segment.recv_last_ns, segment.restored_ns) > young_ns
        is_few = kept_bytes < config.keep_bytes_min
        # One with a `removed` line is on its way out already: a crash came between.
        is_wanted = segment.removed is None and not reclaim_bytes and (is_young or is_few)
        is_needed = segment.frame_last >= frame_needed or not checkpoint_kept or follower_needs
        if is_needed or is_wanted or not segment.is_safe:
            kept_bytes += segment.bytes
            checkpoint_kept = checkpoint_kept or not continues
            follower_needs = continues
            run_open = False
        else:
            if run_open:
                found[-1].append(segment)
            else:
                found.append([segment])
            run_open = continues
    found.reverse()
    return _enough(found, reclaim_bytes) if reclaim_bytes else found


def _enough(runs: list[list[Segment]], size: int) -> list[list[Segment]]:
    taken = 0
    for count, run in enumerate(runs):
        if taken >= size:
            return runs[:count]
        taken += sum(segment.bytes for segment in run)
    return runs


@dataclass(slots=True)
class Removed:
    """What a round removed, and what it could not: file, kind and words."""

    segments: list[str] = field(default_factory=list)
    bytes: int = 0
    failures: list[tuple[str, ShipError]] = field(default_factory=list)


class Retention:
    """Removes segments of one raw log; asks the store again right before each.

    Args: `read_back`: hash of an object's bytes, as the shipper does it.
    """

    def __init__(
        self,
        config: ShipConfig,
        *,
        folders: Folders,
        bucket: Bucket,
        keeper: Keeper,
        clock: Clock,
        read_back: Callable[[Stat], Awaitable[str]],
    ) -> None:
        self._config = config
        self._folders = folders
        self._bucket = bucket
        self._keeper = keeper
        self._clock = clock
        self._read_back = read_back

    def _candidates(self, ledger: Ledger, reclaim_bytes: int) -> list[list[Segment]]:
        return removable(
            list(ledger.segments.values()),
            sealed_names(self._folders.raw),
            config=self._config,
            now_ns=self._clock.wall_ns(),
            frame_needed=_NOTHING_NEEDED,
            reclaim_bytes=reclaim_bytes,
        )

    async def run(self, *, reclaim_bytes: int = 0) -> Removed:
        """Remove what may go; raises ShipError(manifest) when the manifest cannot be read."""
        done = Removed()
        if self._config.keep_days is None:
            return done
        ledger = Ledger.of(await self._keeper.lines(), self._bucket.url)
        # The rule with nothing needed; each file is asked for again when its time has come.
        for run in self._candidates(ledger, reclaim_bytes):
            for segment in run:
                if not await self._attempt(segment, done):
                    break  # the older ones of the run are needed to decode this one
        return done

    async def _attempt(self, segment: Segment, done: Removed) -> bool:
        try:
            gone = await self._remove(segment)
        except ShipError as error:
            done.failures.append((segment.name, error))
            _log.warning("removal_failed", segment=segment.name, kind=error.kind, fault=str(error))
            return False
        if gone:
            done.segments.append(segment.name)
            done.bytes += segment.bytes
        return gone

    async def _remove(self, segment: Segment) -> bool:
        shipment = segment.verified
        assert shipment is not None
        assert segment.is_safe
        stat = await self._bucket.stat(shipment.key)
        if stat is None:
            raise ShipError(f"{shipment.key} has gone from {shipment.url}", kind="missing")
        same_version = stat.e_tag is not None and stat.e_tag == shipment.e_tag
        if stat.bytes != shipment.bytes or (
            not same_version and await self._read_back(stat) != shipment.hash
        ):
            raise ShipError(f"{shipment.key} is not what was shipped", kind="different")
        return await self._keeper.remove(
            self._folders.segments / segment.name,
            note_line("removed", shipment),
            lambda frame_needed: segment.frame_last < frame_needed,
        )
