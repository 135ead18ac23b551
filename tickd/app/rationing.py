"""Which priorities a venue that meters bytes goes without, so that its allowance lasts.

One throttle for each such venue, whose load is the forecast over the cap. What is paused for other
reasons is `planning.py`'s; the forecast is the session's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from gateway.planned import PlannedSession
from gateway.subscriptions.throttle import Throttle
from tickd.ports import Clock

log = structlog.get_logger(__name__)

# Paused priorities come back when the forecast is below this share of the cap.
RESUME_LOAD: Final = 0.7


class Ration(NamedTuple):
    """What a venue may have: priorities from `floor` on, or nothing."""

    floor: int | None = None
    stopped: bool = False


class Rationing:
    """The rations of all venues; those that meter nothing have everything."""

    def __init__(self, sessions: Sequence[PlannedSession], *, clock: Clock) -> None:
        self._clock = clock
        self._rations: dict[str, Ration] = {}
        self._throttled = [
            (session, self._throttle(session))
            for session in sessions
            if session.allowance is not None and session.allowance.pauses_streams
        ]

    @staticmethod
    def _throttle(session: PlannedSession) -> Throttle:
        sdk = session.config.sdk
        return Throttle(
            resume_load=RESUME_LOAD,
            step_seconds=sdk.usage_step_seconds,
            hold_seconds=sdk.usage_hold_seconds,
        )

    def of(self, venue: str) -> Ration:
        """What `venue` may have now."""
        return self._rations.get(venue, Ration())

    def look(self) -> bool:
        """Take the forecasts of this moment; whether a ration is another one."""
        before = dict(self._rations)
        wall_ns, mono_ns = self._clock.wall_ns(), self._clock.mono_ns()
        for session, throttle in self._throttled:
            assert session.allowance is not None
            outlook = session.allowance.outlook(wall_ns=wall_ns, mono_ns=mono_ns)
            throttle.observe(outlook.load, session.carried.wishes.priorities, mono_ns)
            ration = Ration(throttle.floor, outlook.must_stop)
            if ration != self.of(session.name):
                log.warning(
                    "usage_rationed",
                    venue=session.name,
                    load=round(outlook.load, 3),
                    paused_below=ration.floor,
                    stopped=ration.stopped,
                    reset_s=round(outlook.reset_seconds),
                )
            self._rations[session.name] = ration
        return self._rations != before
