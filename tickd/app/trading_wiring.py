"""Trading's part of the composition root: makes it, and joins it to the log, the lag and its rows.

It runs nothing.
"""

from __future__ import annotations

import random
from functools import partial

import msgspec

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.query import EMBEDDED
from recorder.raw.watermark import Watermark
from recorder.trading.mark import MARK_FILE
from recorder.trading.sink import TradingSink
from tickd.app.config import Config
from tickd.app.halting import Halting
from tickd.app.parts import Entrance
from tickd.app.planning import Planning
from tickd.app.storage import Storage
from tickd.app.trading import Trading
from tickd.clock import SystemClock
from tickd.native import Decoder
from tickd.ports import Clock

__all__ = ["definitions_of", "join_trading", "trading_of"]


class _Current(msgspec.Struct, frozen=True):
    current: bool


class _State(msgspec.Struct, frozen=True):
    instruments: list[_Current]


def definitions_of(decoder: Decoder) -> list[tuple[int, bytes]]:
    """Return every definition (number, JSON); of a symbol the one that counts comes last."""
    told = decoder.instruments()
    # The state lists them in the same order, and says which its symbol means.
    state = msgspec.json.decode(decoder.state(), type=_State)
    pairs = list(zip(told, state.instruments, strict=True))
    pairs.sort(key=lambda pair: pair[1].current)
    return [definition for definition, _ in pairs]


def trading_of(config: Config, halting: Halting, entrance: Entrance, clock: Clock) -> Trading:
    """Make it, before any strategy: what comes first on the bus is told first."""
    return Trading(
        config,
        halting=halting,
        tap=entrance.tap,
        bus=entrance.bus,
        raw_log=entrance.raw_log,
        definitions=partial(definitions_of, entrance.decoder),
        clock=clock,
    )


def join_trading(
    trading: Trading,
    config: Config,
    entrance: Entrance,
    *,
    storage: Storage,
    watermark: Watermark,
    planning: Planning,
) -> None:
    """Store its records, let it follow the file, and tell it how late the market is."""
    planning.follow_with(trading.reload)
    trading.watch_lag(lambda: planning.lag_s)
    if not config.accounts:
        return
    known = storage.endpoint if config.clickhouse.url == EMBEDDED else None
    trading.rows = TradingSink(
        ClickHouse(config.clickhouse, known),
        node=config.node.id,
        directory=config.state_dir / "raw",
        mark=config.state_dir / "sink" / MARK_FILE,
        progress=watermark,
        next_frame=lambda: entrance.raw_log.next_frame_no,
        ready=lambda: storage.migrated,
        clock=SystemClock(),
        random=random.random,
    )
    entrance.tap.on_control(trading.rows.taken)
