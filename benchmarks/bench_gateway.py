"""What one WebSocket frame costs in Python on its way to the raw log.

Calls the leg's frame callback the way picows does, with frames of the size of real ones, against a
tap that does nothing and against the native raw log. Run:

    python benchmarks/bench_gateway.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time

from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from gateway.leg import Leg
from gateway.plan import ConnectionPlan
from gateway.status import Counters
from gateway.venues.registry import find
from tickd.clock import SystemClock
from tickd.native import BUILD_PROFILE, Decoder, RawLog

FRAMES = 200_000
ROUNDS = 7
# A burst of this many frames is decoded outside the measured time, as the tap does per loop turn.
BURST = 1_000
PAYLOAD = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,'
    b'"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
)


class NoTap:
    """A tap that does nothing."""

    def frame(self, connection: int, payload: object) -> None: ...


class RawTap(NoTap):
    """Straight into the native raw log; the burst is ended by the benchmark."""

    def __init__(self, raw: RawLog) -> None:
        self._raw = raw

    def frame(self, connection: int, payload: object) -> None:
        self._raw.frame(connection, payload)  # type: ignore[arg-type]


def leg_on(tap: object) -> Leg:
    leg = Leg(
        find("binance-usdm"),
        ConnectionPlan("public", "ws://127.0.0.1", ()),
        tap=tap,  # type: ignore[arg-type]
        clock=SystemClock(),
        counters=Counters(),
        news=asyncio.Event(),
        on_snapshot_wanted=lambda _symbol, _connection: None,
        handover=None,
    )
    leg.connection = 1
    return leg


def nanoseconds(call, end_burst) -> float:
    """Best round, per frame, loop overhead taken off."""
    best = float("inf")
    for _ in range(ROUNDS):
        spent = 0
        for _ in range(FRAMES // BURST):
            began = time.perf_counter_ns()
            for _ in range(BURST):
                call()
            spent += time.perf_counter_ns() - began
            end_burst()
        best = min(best, spent / FRAMES)
    return best


def main() -> None:
    assert BUILD_PROFILE == "release", "a debug build measures nothing"
    frame = _make_test_ws_frame(WSMsgType.TEXT, PAYLOAD, True, False)
    empty = nanoseconds(lambda: None, lambda: None)
    idle = leg_on(NoTap())
    callback = nanoseconds(lambda: idle.on_ws_frame(None, frame), lambda: None) - empty
    with tempfile.TemporaryDirectory() as directory:
        raw = RawLog(directory, node=1)
        decoder = Decoder()
        raw.restore_decoder(decoder)
        busy = leg_on(RawTap(raw))
        busy.connection = raw.next_connection()
        logged = (
            nanoseconds(lambda: busy.on_ws_frame(None, frame), lambda: raw.end_burst(decoder))
            - empty
        )
        view = memoryview(PAYLOAD)
        native = nanoseconds(lambda: raw.frame(1, view), lambda: raw.end_burst(decoder)) - empty
        raw.close()
    print(f"callback without a tap          {callback:7.0f} ns/frame")
    print(f"RawLog.frame alone              {native:7.0f} ns/frame")
    print(
        f"callback + tap + RawLog.frame   {logged:7.0f} ns/frame  ({1e3 / logged:.2f} M frames/s)"
    )


if __name__ == "__main__":
    main()
