"""Books: nanoseconds per changed level or order, against bmoscon's `order_book` and a sorted dict.

tickd: batches of events → `L2Book.apply`, `L3Book.apply`; continuity is proved on the way. Peers:
a Python loop over the same changes as integers, which is how a Python program keeps either book;
they prove nothing. Levels are the recorded depth messages (the simulated market's where there are
no captures), orders are made: adds near the touch, cancels and executions, about 2,000 rest.

Run: python benchmarks/bench_book.py [--rounds 10]
"""

from __future__ import annotations

import time
from functools import partial
from random import Random
from typing import Any

import harness
import messages
import numpy as np
import peer
from harness import Cost, Figure, least

from tickd.events import EVENT, SIZE_UNDEF, Kind
from tickd.native import Decoder, EventBatch, L2Book, L3Book

BURST = 64
ORDERS = 200_000
RESTING = 2_000
INSTRUMENT = 1
LAST = 0x80
RATIO_LEAST = {"levels": 10.0, "orders": 5.0}
ADD, CANCEL, EXECUTE = 0, 1, 2
# Changes by message: (bid, price, size) and (what, id, bid, price, size).
Levels = list[list[tuple[bool, int, int]]]
Orders = list[list[tuple[int, int, bool, int, int]]]
KINDS = {ADD: Kind.ADD, CANCEL: Kind.CANCEL, EXECUTE: Kind.EXECUTE}


def recorded_levels() -> tuple[int, list[EventBatch]]:
    """Instrument, and the snapshot and depth messages of the wire, decoded."""
    wire = messages.load()
    shape = next(each for each in messages.shapes(wire) if each.name == "depth as captured")
    decoder = Decoder()
    definitions, snapshot = messages.preamble(wire)
    decoder.decode(definitions)
    batches = [decoder.decode(snapshot)]
    batches += [decoder.decode(burst) for burst in messages.bursts(shape.messages, BURST)]
    return decoder.instruments()[0][0], batches


def steps_of(batches: list[EventBatch]) -> Levels:
    """The same as changes of levels, by message."""
    found: Levels = []
    for batch in batches:
        events = np.frombuffer(batch, EVENT)  # type: ignore[call-overload]
        for kind, side, price, size in events[["kind", "side", "price", "size"]].tolist():
            if kind == Kind.DEPTH_HEAD:
                found.append([])
            elif kind == Kind.DEPTH:
                found[-1].append((side == ord("B"), price, size))
    return found


def made_orders() -> Orders:
    """(what, id, bid, price, size), eight to a message."""
    random, resting, steps = Random(1), list[tuple[int, bool, int]](), []
    for order in range(ORDERS):
        at = random.randrange(len(resting)) if resting else 0
        choice = random.random()
        if len(resting) > RESTING and choice < 0.25:
            number, bid, price = resting[at]
            steps.append((EXECUTE, number, bid, price, 1))
        elif len(resting) > RESTING and choice < 0.65:
            resting[at], resting[-1] = resting[-1], resting[at]
            number, bid, price = resting.pop()
            steps.append((CANCEL, number, bid, price, 0))
        else:
            bid = random.random() < 0.5
            away = min(int(random.expovariate(0.1)), 500)
            price = 100_000 - away if bid else 100_001 + away
            resting.append((order, bid, price))
            steps.append((ADD, order, bid, price, random.randrange(1_000, 10_000)))
    return [steps[at : at + 8] for at in range(0, len(steps), 8)]


def batches_of(orders: Orders) -> list[EventBatch]:
    flat = [step for message in orders for step in message]
    events = np.zeros(len(flat), EVENT)
    events["kind"] = [KINDS[step[0]] for step in flat]
    events["id"] = [step[1] for step in flat]
    events["side"] = [ord("B") if step[2] else ord("A") for step in flat]
    events["price"] = [step[3] for step in flat]
    events["size"] = [SIZE_UNDEF if step[0] == CANCEL else step[4] for step in flat]
    events["instrument"] = INSTRUMENT
    events["flags"][7::8] = LAST
    return [
        EventBatch.from_events(part.tobytes(), ((1, 0, len(part)),))
        for part in np.array_split(events, len(orders) // 8)
    ]


def apply(make: Any, batches: list[EventBatch], units: int, best: tuple[int, int]) -> Cost:
    book = make()
    take = book.apply
    began = time.process_time_ns()
    for batch in batches:
        take(batch)
    spent = time.process_time_ns() - began
    found = tuple(int.from_bytes(book.rows(side, 1)[:8], "little", signed=True) for side in "BA")
    assert found == best, (found, best)
    return Cost(spent, units)


def best_levels(steps: Levels) -> tuple[int, int]:
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for message in steps:
        for bid, price, size in message:
            sides[not bid][price] = size
    bids, asks = ([price for price, size in side.items() if size] for side in sides)
    return max(bids), min(asks)


def best_orders(orders: Orders) -> tuple[int, int]:
    left: dict[int, tuple[bool, int, int]] = {}
    for message in orders:
        for what, order, bid, price, size in message:
            if what == ADD:
                left[order] = (bid, price, size)
            elif what == CANCEL:
                del left[order]
            else:
                left[order] = (bid, price, left[order][2] - size)
    bids, asks = (
        [price for bid, price, _ in left.values() if bid is side] for side in (True, False)
    )
    return max(bids), min(asks)


def figures(rounds: int) -> list[Figure]:
    """Every figure."""
    instrument, batches = recorded_levels()
    levels, orders = steps_of(batches), made_orders()
    out: list[Figure] = []
    with peer.started("peer_books.py") as theirs:
        theirs.give({"levels": levels, "orders": orders})
        for what, title, tickd in (
            (
                "levels",
                "level of recorded depth",
                partial(
                    apply,
                    partial(L2Book, "binance-usdm", instrument),
                    batches,
                    sum(map(len, levels)),
                    best_levels(levels),
                ),
            ),
            (
                "orders",
                "order event",
                partial(
                    apply,
                    partial(L3Book, INSTRUMENT),
                    batches_of(orders),
                    sum(map(len, orders)),
                    best_orders(orders),
                ),
            ),
        ):
            names = {each: f"{what} {each}" for each in ("order_book", "sortedcontainers")}
            cases: dict[str, Any] = {"tickd": tickd}
            cases |= {name: partial(theirs.cost, run=run) for name, run in names.items()}
            best = least(cases, rounds)
            out.append(Figure(f"book.{what}_ns", best["tickd"], "ns", f"{title}, tickd"))
            out += [
                Figure(
                    f"book.{what}_{name}",
                    best[name] / best["tickd"],
                    "x",
                    f"{title}: tickd against {name} ({best[name]:.0f} ns)",
                    least=RATIO_LEAST[what],
                )
                for name in names
            ]
    return out


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
