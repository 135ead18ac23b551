"""Decode and publish, message by message type, against cryptofeed's own BinanceFutures handlers.

tickd: records in bursts of 64 → Decoder.decode → Bus.publish → a handler on `*` that does nothing.
cryptofeed: `message_handler` over the same messages → a callback that does nothing, in a child
process. Both sides: sequence check and typed values; cryptofeed also keeps the book, so depth is
shown with tickd's book (`L2Book.apply`) as well. cryptofeed's callback is called per message,
tickd's handler per burst and topic; bursts of one message are shown too.

Run: python benchmarks/bench_decode.py [--rounds 10]
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import harness
import messages
import peer
from harness import Cost, Figure, least, rate

from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, L2Book

BURST = 64
RATIO_LEAST = 10.0
LEVELS_LEAST = 15e6
# tickd's shape → the one that cryptofeed reads.
THEIRS = {"trade": "aggTrade"}


def nothing(_topic: str, _events: EventBatch) -> None:
    """The user's handler."""


def publish(
    preamble: tuple[bytes, bytes], bursts: list[bytes], units: int, *, book: bool = False
) -> Cost:
    decoder = Decoder()
    bus = Bus(decoder.topic_name, SystemClock())
    definitions, snapshot = preamble
    decoder.decode(definitions)
    if book:
        kept = L2Book("binance-usdm", decoder.instruments()[0][0])
        bus.handle_bursts(kept.apply, name="book")
    bus.publish(decoder.decode(snapshot))
    bus.handle("*", nothing, name="nothing")
    decode, deliver = decoder.decode, bus.publish
    began = time.process_time_ns()
    for burst in bursts:
        deliver(decode(burst))
    spent = time.process_time_ns() - began
    counters = decoder.counters()
    wrong = {k: v for k, v in counters.items() if k in ("gaps", "resyncs") or "refused" in k if v}
    assert counters["frames"] >= units, counters
    assert not wrong, wrong
    return Cost(spent, units)


def figures(rounds: int, *, quick: bool = False) -> list[Figure]:
    """Every figure; `quick` only the ones that are checked."""
    wire = messages.load()
    shapes = {shape.name: shape for shape in messages.shapes(wire)}
    preamble = messages.preamble(wire)
    out: list[Figure] = []
    with peer.cryptofeed() as theirs:
        theirs.load(wire.snapshot, {name: shape.messages for name, shape in shapes.items()})
        for name, shape in shapes.items():
            other = THEIRS.get(name, name)
            many = messages.bursts(shape.messages, BURST)
            count = len(shape.messages)
            cases: dict[str, Any] = {
                "tickd": partial(publish, preamble, many, count),
                "cryptofeed": partial(theirs.handle, other),
            }
            if not quick:
                single = messages.bursts(shape.messages, 1)
                cases["tickd, bursts of one"] = partial(publish, preamble, single, count)
            if shape.levels:
                cases["tickd with book"] = partial(publish, preamble, many, count, book=True)
            out += told(shape, other, wire.origin, least(cases, rounds))
    return out


def told(shape: messages.Shape, other: str, origin: str, ns: dict[str, float]) -> list[Figure]:
    key = "decode." + shape.name.replace(" ", "_")
    kind = shape.name if other == shape.name else f"{shape.name} (cryptofeed: {other})"
    out = []
    for case, cost in ns.items():
        levels = f", {shape.levels / len(shape.messages):.0f} levels each" if shape.levels else ""
        text = f"{kind}: {case}, {cost:,.0f} ns/msg{levels}; {origin}"
        out.append(Figure(f"{key}.{case}", rate(cost), "msg/s", text))
    if shape.levels:
        per_s = rate(ns["tickd"]) * shape.levels / len(shape.messages)
        budget = LEVELS_LEAST if "100" in shape.name else None
        out.append(Figure(f"{key}.levels", per_s, "levels/s", f"{kind}: tickd", least=budget))
    for case, cost in ns.items():
        if case != "cryptofeed":
            bound = RATIO_LEAST if case == "tickd" else None
            out.append(
                Figure(
                    f"{key}.ratio" + ("" if case == "tickd" else f".{case}"),
                    ns["cryptofeed"] / cost,
                    "x",
                    f"{kind}: {case} against cryptofeed, decode + publish",
                    least=bound,
                    checked=case == "tickd",
                )
            )
    return out


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds, quick=options.checked), as_json=options.json)


if __name__ == "__main__":
    main()
