"""The risk gate: nanoseconds per order that passes, against its twin and a plain Python gate.

A desk with every limit given under five keys, 100 other orders open; times are passed in, the halt
word is the native one. The gate is measured twice: its core as the gate calls it (one native call),
and the whole of `Gate.check`, which looks up names, seals an approval and is what the router calls.
The twin runs the same checks over sums made anew. The plain gate is what people write: fourteen
checks in one function, one instrument, no keys, nothing kept by number; a floor, not an equal.
Orders are released between turns; that is not measured. `cargo bench -p tickd-core --bench gate`
measures the checks without Python.

Run: python benchmarks/bench_gate.py [--rounds 10]
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal

import harness
import msgspec
import numpy as np
from harness import Cost, Figure, least

from risk.approval import ApprovedOrder
from risk.gate import Gate
from risk.limits import LimitConfig, Limits, LimitsConfig, VenueLimitConfig
from risk.orders import AccountState, Request
from tickd.events import EVENT, Kind, Side
from tickd.native import EventBatch, HaltWord

SECOND: Final = 1_000_000_000
WALL_NS: Final = 1_795_168_800 * SECOND
PRICE: Final = 10_000
INSTRUMENT: Final = 77
OPEN: Final = 100
# Between two orders: no two of the same price within the duplicate window.
STEP_NS: Final = 200_000
PER_TURN: Final = {"native": 400, "numpy": 20}
Backend = Literal["native", "numpy"]

DEFINITION: Final = {
    "venue": "sim",
    "symbol": "ABC",
    "asset_class": "spot",
    "price_scale": 2,
    "size_scale": 0,
    "tick": 5,
    "lot": 1,
    "multiplier": "1",
}


def armed() -> HaltWord:
    """A halt word of this benchmark's own, open."""
    halt = HaltWord()
    if not halt.arming().open(halt.word):
        raise RuntimeError("a halt word that nobody trips was not opened")
    return halt


def limits() -> Limits:
    everything = LimitConfig(
        tradable=True,
        hours=("always",),
        order_qty_max="1000",
        order_notional_max="1000000",
        collar_bps=100,
        period_collar_bps=500,
        reference_age_ms_max=600_000,
        position_max="100000",
        gross_max="1000000000",
        net_max="1000000000",
        open_orders_max=100_000,
        orders_max=1_000_000_000,
        duplicate_window_ms=1,
        executions_max=1_000,
        cancel_ratio_pct_max=1_000,
        daily_loss_max="1000000",
        drawdown_max="1000000",
        free_balance_min="0",
        account_age_ms_max=600_000,
        margin_pct=0,
    )
    keys: list[dict[str, Any]] = [
        {"account": "main"},
        {"strategy": "ofi"},
        {"instrument": "sim:ABC"},
    ]
    others = [
        LimitConfig(**key, position_max="90000", gross_max="900000000", orders_max=900_000_000)
        for key in keys
    ]
    venue = VenueLimitConfig(venue="sim", messages_max=1_000_000_000, window_ms=1_000)
    return Limits(LimitsConfig(limits=(everything, *others), venues=(venue,)))


class Desk:
    """A gate with orders open, and requests that pass."""

    def __init__(self, backend: Backend, halt: HaltWord) -> None:
        self.gate = Gate(limits(), halt=halt, backend=backend)
        self.core = self.gate._core
        self.now, self.number, self.count = SECOND, 0, PER_TURN[backend]
        self.gate.define(INSTRUMENT, msgspec.json.encode(DEFINITION))
        self._quote()
        for request in self.requests(OPEN):
            assert isinstance(self._check(request, self.number), ApprovedOrder)
            self.number += 1

    def _quote(self) -> None:
        events = np.zeros(2, EVENT)
        events["instrument"], events["kind"], events["price"] = INSTRUMENT, Kind.QUOTE, PRICE
        events["side"] = (Side.BID, Side.ASK)
        self.gate.take(EventBatch.from_events(events.tobytes(), [(0, 0, 2)], self.now))
        money = AccountState(currency="USD", equity=10**16, free=10**16)
        self.gate.account("main", money, mono_ns=self.now)
        self.gate.set_day_pnl("main", 0)

    def _check(self, request: Request, number: int) -> object:
        self.now += STEP_NS
        return self.gate.check(request, number, mono_ns=self.now, wall_ns=WALL_NS)

    def requests(self, count: int) -> list[Request]:
        return [
            Request(
                client_id=7 << 32 | self.number + each,
                strategy="ofi",
                account="main",
                instrument=INSTRUMENT,
                venue="sim",
                symbol="ABC",
                side="B",
                price=PRICE + each % 10 * 5,
                size=1,
            )
            for each in range(count)
        ]

    def release(self) -> None:
        for number in range(self.number, self.number + self.count):
            assert self.core.released(number), "a benchmark's order passes"
        self.number += self.count
        self.now += SECOND
        self._quote()

    def core_turn(self) -> Cost:
        """The core's one call, its arguments made before."""
        rows = []
        for each in range(self.count):
            self.now += STEP_NS
            number = self.number + each
            price = PRICE + each % 10 * 5
            rows.append((0, number, 7 << 32 | number, 0, price, 1, 0, self.now, WALL_NS))
        check = self.core.check
        start = time.thread_time_ns()
        for row in rows:
            check(*row)
        spent = time.thread_time_ns() - start
        self.release()
        return Cost(spent, self.count)

    def face_turn(self) -> Cost:
        """All of `Gate.check`."""
        check, wall, now = self.gate.check, WALL_NS, self.now
        rows = [
            (request, self.number + each, now + each * STEP_NS)
            for each, request in enumerate(self.requests(self.count))
        ]
        start = time.thread_time_ns()
        for request, number, mono in rows:
            check(request, number, mono_ns=mono, wall_ns=wall)
        spent = time.thread_time_ns() - start
        self.now += self.count * STEP_NS
        self.release()
        return Cost(spent, self.count)


def plain_gate() -> Callable[[str, int, int, int], bool]:
    """Fourteen checks as one writes them in an afternoon."""
    state: dict[str, int] = {"position": 0, "open": 0, "gross": 0, "lost": 0, "tat": 0}
    recent: deque[tuple[int, tuple[str, int, int]]] = deque(maxlen=64)
    halted, halted_sides, known = False, set[str](), {"ABC": (5, PRICE, SECOND)}

    def check(side: str, price: int, size: int, now: int) -> bool:
        if halted or side in halted_sides:
            return False
        instrument = known.get("ABC")
        if instrument is None or size <= 0 or size > 1_000:
            return False
        tick, reference, _ = instrument
        if price % tick or price * size > 10**9:
            return False
        if abs(price - reference) * 10_000 > reference * 100:
            return False
        if abs(state["position"]) + state["open"] + size > 100_000:
            return False
        if state["gross"] + price * size > 10**12 or state["open"] >= 100_000:
            return False
        if state["lost"] > 10**9:
            return False
        key = (side, price, size)
        for at, each in reversed(recent):
            if now - at > 1_000_000:
                break
            if each == key:
                return False
        tat = max(state["tat"], now) + 1
        if tat - SECOND > now:
            return False
        state["tat"] = tat
        state["open"] += size
        state["gross"] += price * size
        recent.append((now, key))
        return True

    return check


def plain_turn(check: Callable[[str, int, int, int], bool], clock: list[int]) -> Cost:
    rows = []
    for each in range(400):
        clock[0] += STEP_NS
        rows.append(("B", PRICE + each % 10 * 5, 1, clock[0]))
    start = time.thread_time_ns()
    for row in rows:
        check(*row)
    return Cost(time.thread_time_ns() - start, len(rows))


def figures(rounds: int) -> list[Figure]:
    native, twin, plain = Desk("native", armed()), Desk("numpy", armed()), plain_gate()
    ns = least(
        {
            "core": native.core_turn,
            "gate": native.face_turn,
            "twin": twin.face_turn,
            "plain": partial(plain_turn, plain, [SECOND]),
        },
        rounds,
    )
    return [
        Figure(
            "gate.core", ns["core"], "ns", "core called from Python, an order that passes", most=250
        ),
        Figure("gate.gate", ns["gate"], "ns", "the whole of Gate.check, approval and all"),
        Figure("gate.twin", ns["twin"], "ns", "the same with the twin in plain Python"),
        Figure("gate.plain", ns["plain"], "ns", "a plain Python gate of fourteen checks"),
        Figure(
            "gate.ratio.twin",
            ns["twin"] / ns["gate"],
            "x",
            "gate against its twin",
            least=4,
            checked=True,
        ),
        Figure(
            "gate.ratio.plain",
            ns["plain"] / ns["core"],
            "x",
            "core against the plain gate",
            checked=True,
        ),
    ]


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    found = figures(options.rounds)
    shown = [each for each in found if each.checked] if options.checked else found
    harness.show(shown, as_json=options.json)


if __name__ == "__main__":
    main()
