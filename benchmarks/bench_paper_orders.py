"""Orders on paper: submit, acknowledge, cancel, acknowledge; and what an idle exchange costs.

Orders: limit orders far from the market, without latency, through `PaperBroker` as it stands: the
call into native code, the time asked for, the reports made and handed over. No gate and no router
are in it. "takes" is an order that trades at once instead of being cancelled.

NautilusTrader is its backtest order path as it ships (BacktestEngine: strategy, order factory, risk
engine, execution engine, matching engine, cache, message bus) in a child process; it does more.

Idle: batches of 64 events of one instrument through the exchange while nothing of ours is in it, in
nanoseconds per event; "with an order" has one resting in it; "followed" keeps its book. Depth
changes lie within 20 levels of the touch.

Run: python benchmarks/bench_paper_orders.py [--rounds 10]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import harness
import numpy as np
import peer
from harness import Cost, Figure, least

from risk.approval import SEAL, ApprovedOrder
from risk.brokers.paper.broker import PaperBroker
from risk.brokers.paper.config import PaperConfig
from risk.orders import Report, Request, Wanted
from tickd.clock import SystemClock
from tickd.events import EVENT, SIZE_UNDEF, Flag, Kind, Side
from tickd.native import EventBatch

PAIRS = 20_000
EVENTS = 128_000
BATCH = 64
INSTRUMENT = 11
DEFINITION = (
    b'{"venue":"okx","symbol":"BTC-USDT-SWAP","asset_class":"perpetual","price_scale":1,'
    b'"size_scale":3,"tick":1,"lot":1,"multiplier":"1"}'
)
RATIO_LEAST = 5.0


def nothing(*_arguments: object) -> None:
    """What is done with what nobody needs."""


def broker(reports: Callable[[Report], None], *, follow: bool = False) -> PaperBroker:
    config = PaperConfig(
        name="paper",
        entry_us=(0,),
        response_us=(0,),
        books=("okx:*",) if follow else (),
        open_orders_max=65_536,
    )
    made = PaperBroker(
        config, account="paper", on_report=reports, clock=SystemClock(), call_soon=nothing
    )
    made.define(INSTRUMENT, DEFINITION)
    made.take(quotes(2)[0])
    return made


def columns(count: int, kind: Kind) -> Any:
    events = np.zeros(count, EVENT)
    events["seq"] = np.arange(1, count + 1)
    events["ts_recv"] = 1_795_219_199_000_000_000 + np.arange(count) * 1_000
    events["kind"], events["instrument"] = kind, INSTRUMENT
    return events


def quotes(count: int) -> list[EventBatch]:
    events = columns(count, Kind.QUOTE)
    events["side"][::2], events["side"][1::2] = Side.BID, Side.ASK
    events["price"][::2], events["price"][1::2] = 600_000, 600_001
    events["size"], events["flags"][1::2] = 50_000, Flag.LAST
    return cut(events)


def trades(count: int) -> list[EventBatch]:
    events = columns(count, Kind.TRADE)
    events["side"], events["flags"] = Side.BID, Flag.LAST
    events["price"], events["size"] = 600_001, 5
    return cut(events)


def depth(count: int) -> list[EventBatch]:
    """Messages of seven levels; the first is the whole book."""
    events = columns(count, Kind.DEPTH)
    dice = np.random.default_rng(1)
    side = dice.integers(0, 2, count)
    events["side"] = np.where(side == 0, Side.BID, Side.ASK)
    away = dice.integers(0, 20, count)
    events["price"] = np.where(side == 0, 600_000 - away, 600_001 + away)
    events["size"] = dice.integers(1, 5_000, count)
    events["kind"][::8], events["flags"][7::8] = Kind.DEPTH_HEAD, Flag.LAST
    ids = np.arange(count) // 8 + 1
    events["id"] = ids
    events["price"][::8], events["size"][::8] = ids[::8], ids[::8] - 1
    events["flags"][:8] |= np.uint16(Flag.SNAPSHOT)
    events["size"][0] = SIZE_UNDEF
    return cut(events)


def cut(events: Any) -> list[EventBatch]:
    parts = [events[at : at + BATCH] for at in range(0, len(events), BATCH)]
    return [EventBatch.from_events(part.tobytes(), [(0, 0, len(part))]) for part in parts]


def approved(number: int, price: int | None) -> ApprovedOrder:
    request = Request(
        client_id=number,
        strategy="bench",
        account="paper",
        instrument=INSTRUMENT,
        venue="okx",
        symbol="BTC-USDT-SWAP",
        side="B",
        price=price,
        size=1,
    )
    return ApprovedOrder(request, number, 0, seal=SEAL)


def orders() -> Cost:
    reports: list[Report] = []
    made = broker(reports.append)
    proofs = [approved(number, 500_000) for number in range(1, PAIRS + 1)]
    wanted = [
        Wanted(
            number=each.number,
            ref="A00001",
            venue_id="",
            instrument=INSTRUMENT,
            symbol="BTC-USDT-SWAP",
            side="B",
            price=500_000,
            size=1,
        )
        for each in proofs
    ]
    began = time.process_time_ns()
    for proof, order in zip(proofs, wanted, strict=True):
        made.send(proof, "A00001")
        made.advance()
        made.cancel(order)
        made.advance()
    spent = time.process_time_ns() - began
    assert len(reports) == 2 * PAIRS
    return Cost(spent, PAIRS)


def takes() -> Cost:
    reports: list[Report] = []
    made = broker(reports.append)
    proofs = [approved(number, None) for number in range(1, PAIRS + 1)]
    began = time.process_time_ns()
    for proof in proofs:
        made.send(proof, "A00001")
        made.advance()
    spent = time.process_time_ns() - began
    assert len(reports) == 2 * PAIRS
    return Cost(spent, PAIRS)


def market(batches: list[EventBatch], *, order: bool = False, follow: bool = False) -> Cost:
    made = broker(nothing, follow=follow)
    if order:
        made.send(approved(1, 599_990), "A00001")
        made.advance()
    take = made.take
    began = time.process_time_ns()
    for batch in batches:
        take(batch)
    return Cost(time.process_time_ns() - began, EVENTS)


def cases() -> dict[str, Callable[[], Cost]]:
    quoted, traded, deep = quotes(EVENTS), trades(EVENTS), depth(EVENTS)
    return {
        "submit, ack, cancel, ack": orders,
        "market order: submit, ack, fill": takes,
        "idle, trades": partial(market, traded),
        "idle, quotes": partial(market, quoted),
        "idle, depth": partial(market, deep),
        "idle, depth, followed": partial(market, deep, follow=True),
        "with an order, trades": partial(market, traded, order=True),
        "with an order, quotes": partial(market, quoted, order=True),
        "with an order, depth, followed": partial(market, deep, order=True, follow=True),
    }


NAUTILUS = "NautilusTrader, backtest order path"


def figures(rounds: int) -> list[Figure]:
    with peer.nautilus_orders(2_000) as nautilus:
        ns = least({**cases(), NAUTILUS: nautilus}, rounds)
    ours = ns["submit, ack, cancel, ack"]
    out = [Figure(f"paper.{name}", cost, "ns", name) for name, cost in ns.items()]
    text = "submit, ack, cancel, ack: the broker alone against NautilusTrader's whole path"
    return [*out, Figure("paper.ratio", ns[NAUTILUS] / ours, "x", text, least=RATIO_LEAST)]


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
