"""The bars' turn in a repair: the hours that the journal notes, compared and made again.

Beside live inserts, which it asks to be quiet for the moment in which an hour's bars are made. What
a bar is, and how one is compared, is `bar_repair.py`'s.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from recorder.errors import RepairError
from recorder.repair.bar_repair import BARS, HOUR_S, BarRepair, Bars, spans_of
from recorder.repair.ports import Traffic
from recorder.repair.steps import RepairSteps
from recorder.sink.patience import Patience
from tickd.ports import Clock

__all__ = ["BarStage"]

_ATTEMPTS_MAX: Final = 4
_POLL_S: Final = 0.05


class BarStage:
    """One repair's."""

    def __init__(
        self,
        bars: BarRepair,
        steps: RepairSteps,
        patience: Patience,
        traffic: Traffic,
        *,
        clock: Clock,
    ) -> None:
        self._bars = bars
        self._steps = steps
        self._patience = patience
        self._traffic = traffic
        self._clock = clock
        self.hours_compared = 0
        self.hours_made = 0  # per table

    async def run(self) -> None:
        """Work off the noted hours. Raises RepairError when bars do not come out right."""
        hours = self._steps.entry.hours
        if not hours:
            return
        for bars in BARS:
            # Beside live inserts a difference may be a moment's; in the quiet it is one.
            look = partial(self._bars.differing, bars, hours)
            for span, rows in spans_of(await self._patience.asked(look)):
                async with self._traffic.quiet("trades"):
                    await self._until_all_arrived()
                    await self._make(bars, span, rows)
        self.hours_compared += len(hours)
        await self._steps.note(hours=(), word="", deletes_until_s=0)

    async def _until_all_arrived(self) -> None:
        """Wait for what a predecessor sent: its views would add to bars that are made meanwhile."""
        while await self._patience.asked(self._bars.trades_arrive):
            await self._clock.sleep(_POLL_S)

    async def _make(self, bars: Bars, span: tuple[int, int], rows: int) -> None:
        hours = range(*span, HOUR_S)
        look = partial(self._bars.differing, bars, hours)
        for _ in range(_ATTEMPTS_MAX):
            if not await self._patience.asked(look):
                return
            word = str(self._clock.wall_ns())  # no insert has had it in its token
            await self._steps.note(word=word)
            await self._steps.emptied(partial(self._bars.delete, bars, span), [bars.table])
            await self._patience.asked(partial(self._bars.insert, bars, span, rows, word))
            self.hours_made += len(hours)
        if await self._patience.asked(look):
            raise RepairError(f"bars of {bars.table} from {span[0]} to {span[1]} come out wrong")
