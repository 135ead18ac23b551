"""Trading over a real tap, raw log, bus, gate and outbox, with paper accounts, on the real clock.

One venue with one symbol, AAAUSDT. Nothing here waits by time: `until` looks again and again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from strategy_runner.runner import owner_of
from tickd.app.config import Config
from tickd.app.halting import Halting
from tickd.app.tap import Tap
from tickd.app.trading import Trading
from tickd.app.trading_wiring import definitions_of
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.config import parse
from tickd.native import Decoder, RawLog

VENUE, SYMBOL = "binance-usdm", "AAAUSDT"
ROW = """
[[risk.limits]]
tradable = true
hours = ["always"]
order_qty_max = "{order_qty_max}"
order_notional_max = "unlimited"
collar_bps = 500
period_collar_bps = "unlimited"
reference_age_ms_max = 600000
position_max = "100"
gross_max = "unlimited"
net_max = "unlimited"
open_orders_max = 50
orders_max = "unlimited"
duplicate_window_ms = 0
executions_max = "unlimited"
cancel_ratio_pct_max = "unlimited"
daily_loss_max = "unlimited"
drawdown_max = "unlimited"
free_balance_min = "unlimited"
account_age_ms_max = 600000
"""
FILE = """
[node]
state_dir = "{state_dir}"
[[venues]]
name = "binance-usdm"
symbols = ["{symbol}"]
[[accounts]]
broker = "paper"
name = "one"
entry_us = [0]
response_us = [0]
[[accounts]]
broker = "paper"
name = "two"
entry_us = [0]
response_us = [0]
[[strategies]]
name = "chaser"
class = "chaser.py:Chaser"
account = "one"
[[strategies]]
name = "maker"
class = "maker.py:Maker"
account = "two"
[[strategies]]
name = "poor"
class = "poor.py:Poor"
[risk.router]
durability = "process"
ack_timeout_ms = {ack_timeout_ms}
resolve_interval_ms = 10
reconcile_interval_ms = 20
absence_ms_min = 10
cancel_all_interval_ms = 10
[[risk.venues]]
venue = "binance-usdm"
messages_max = 100000
window_ms = 1000
"""


def text_of(
    state_dir: Path,
    *,
    order_qty_max: str = "10",
    ack_timeout_ms: int = 5_000,
    symbol: str = SYMBOL,
    more: str = "",
) -> str:
    head = FILE.format(state_dir=state_dir, ack_timeout_ms=ack_timeout_ms, symbol=symbol)
    return head + ROW.format(order_qty_max=order_qty_max) + more


def config_of(state_dir: Path, **other: Any) -> Config:
    return parse(text_of(state_dir, **other).encode(), Config, source="tickd.toml")


def definition(**other: object) -> bytes:
    fields: dict[str, object] = {
        "venue": VENUE,
        "symbol": SYMBOL,
        "asset_class": "perpetual",
        "price_scale": 2,
        "size_scale": 3,
        "tick": 1,
        "lot": 1,
        "multiplier": "1",
    }
    return json.dumps({"kind": "instrument", **fields, **other}, separators=(",", ":")).encode()


class World:
    """One life on a state directory; `living` begins and ends it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        clock = SystemClock()
        self.raw_log = RawLog(str(config.state_dir / "raw"), node=1, group_ms=5)
        self.decoder = Decoder()
        self.raw_log.restore_decoder(self.decoder)
        self.bus = Bus(self.decoder.topic_name, clock)
        self.tap = Tap(self.raw_log, self.decoder, self.bus, clock=clock)
        self.records: list[dict[str, Any]] = []
        self.tap.on_control(lambda _no, _ns, payload: self.records.append(json.loads(payload)))
        self.halting = Halting(config, clock)
        self.trading = Trading(
            config,
            halting=self.halting,
            tap=self.tap,
            bus=self.bus,
            raw_log=self.raw_log,
            definitions=lambda: definitions_of(self.decoder),
            clock=clock,
        )
        self.connection = self.depth_connection = 0
        self.updates = 0
        self.asked: dict[str, int] = {}

    # The market ----------------------------------------------------------------------------------

    async def define(self, **other: object) -> int:
        """Return the number of what was defined."""
        self.tap.record(0, "C", definition(**other))
        await asyncio.sleep(0)
        traded = self.trading.instruments.traded(VENUE, SYMBOL)
        assert traded is not None
        return traded.number

    async def quote(self, bid: str, ask: str, size: str = "5") -> None:
        if not self.connection:
            stream = f"{SYMBOL.lower()}@bookTicker"
            self.connection = self.tap.open(
                venue=VENUE, url="ws://127.0.0.1/ws", streams=[stream], leg=_Leg()
            )
        self.updates += 1
        data = {"e": "bookTicker", "u": self.updates, "s": SYMBOL, "T": 1, "E": 1}
        data |= {"b": bid, "B": size, "a": ask, "A": size}
        stream = f"{SYMBOL.lower()}@bookTicker"
        self.tap.frame(self.connection, json.dumps({"stream": stream, "data": data}).encode())
        await asyncio.sleep(0)

    async def depth(self, *, first: int, last: int, bid: str = "99.00", ask: str = "") -> None:
        """A change of the book, without the snapshot that would make it whole."""
        stream = f"{SYMBOL.lower()}@depth@100ms"
        if not self.depth_connection:
            self.depth_connection = self.tap.open(
                venue=VENUE, url="ws://127.0.0.1/ws", streams=[stream], leg=_Leg()
            )
        data = {"e": "depthUpdate", "s": SYMBOL, "T": 1, "E": 1, "U": first, "u": last}
        data |= {"pu": first - 1, "b": [[bid, "1"]], "a": [[ask, "1"]] if ask else []}
        payload = json.dumps({"stream": stream, "data": data}).encode()
        self.tap.frame(self.depth_connection, payload)
        await asyncio.sleep(0)

    async def book(self, last: int, *, bid: str, ask: str) -> None:
        """The snapshot of a book, as REST tells it."""
        head = b"GET /fapi/v1/depth?symbol=%s&limit=1000 200\n" % SYMBOL.encode()
        said = {"lastUpdateId": last, "E": 1, "T": 1, "bids": [[bid, "5"]], "asks": [[ask, "5"]]}
        self.tap.record(self.depth_connection, "R", head + json.dumps(said).encode())
        await asyncio.sleep(0)

    def lose_depth(self) -> None:
        """The connection of the book ends."""
        self.tap.close(self.depth_connection, "lost")
        self.depth_connection = 0

    # Strategies ----------------------------------------------------------------------------------

    def submit(self, strategy: str = "chaser", **other: object) -> int:
        """Ask for an order as a strategy does; return its client id."""
        number = self.asked[strategy] = self.asked.get(strategy, 0) + 1
        client_id = owner_of(strategy) << 32 | number
        traded = self.trading.instruments.traded(VENUE, SYMBOL)
        fields: dict[str, object] = {
            "kind": "intent",
            "strategy": strategy,
            "client_id": client_id,
            "instrument": 0 if traded is None else traded.number,
            "venue": VENUE,
            "symbol": SYMBOL,
            "side": "B",
            "price": 10_000,
            "size": 1_000,
            "time_in_force": "gtc",
            "reduce_only": False,
        }
        self.trading.ask({**fields, **other})
        return client_id

    # People --------------------------------------------------------------------------------------

    async def arm(self, scope: Any = "global", key: str = "") -> None:
        switch = self.halting.switch
        await until(lambda: not switch.blockers(scope, key))
        await switch.confirm(switch.arm("ada", "a test", scope=scope, key=key).token)

    async def lift(self, scope: Any, key: str, side: Any) -> None:
        """Arm a halted scope, or a side of it."""
        switch = self.halting.switch
        await until(lambda: not switch.blockers(scope, key, side))
        await switch.confirm(switch.arm("ada", "a test", scope=scope, key=key, side=side).token)

    async def ready(self) -> int:
        """A defined instrument with a price, armed; return its number."""
        number = await self.define()
        await self.quote("100.00", "100.10")
        await self.arm()
        return number

    # What is on record ---------------------------------------------------------------------------

    def of(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        return [
            each
            for each in self.records
            if each.get("kind") == kind
            and all(each.get(key) == value for key, value in fields.items())
        ]

    def states(self, client_id: int) -> list[str]:
        return [each["state"] for each in self.of("order", client_id=client_id)]

    async def state(self, client_id: int, state: str) -> dict[str, Any]:
        """Wait for an order's state; return the record of it."""
        await until(lambda: state in self.states(client_id))
        return self.of("order", client_id=client_id, state=state)[-1]


class _Leg:
    def on_notice(self, notice: object) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


@asynccontextmanager
async def living(
    config: Config, *, wrap: Mapping[str, Callable[[Any], Any]] | None = None
) -> AsyncIterator[World]:
    """Run a life; at its end it stops cleanly. `wrap`: of an account's broker."""
    world = World(config)
    for name, wrapped in (wrap or {}).items():
        world.trading.brokers[name] = wrapped(world.trading.brokers[name])
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(world.trading.run(), name="trading"),
                tasks.create_task(world.halting.switch.run(), name="kill switch"),
            ]
            yield world
            await world.trading.stop()
            for task in running:
                task.cancel()
        await world.trading.close()
    finally:
        await asyncio.to_thread(world.halting.stop)
        world.tap.finish()
        world.tap.detach()
        world.bus.close()
        world.raw_log.close()
