"""What would have been decided: a session's own limits change nothing, other limits what they say.

The session is made here: a real gate answers, the log gets what it and a venue said.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from backtest.what_if import WhatIf, what_if
from risk.approval import ApprovedReplace, Denied
from risk.gate import Gate
from risk.limits import LimitConfig, Limits, LimitsConfig, VenueLimitConfig
from risk.orders import AccountState, Request, Side
from risk.prices import Prices
from tests.harness.gates import Word, row
from tests.harness.log_writer import Line, LogWriter, connect, instrument
from tickd.native import Decoder

VENUE, SYMBOL = "binance-usdm", "BTCUSDT"
START_NS = 1_795_168_800 * 10**9
STEP_NS = 5_000_000


def limits_of(*rows: LimitConfig, messages_max: int = 1_000_000) -> Limits:
    venue = VenueLimitConfig(venue=VENUE, messages_max=messages_max, window_ms=1_000)
    return Limits(LimitsConfig(limits=rows or (row(),), venues=(venue,)))


class Session:
    """A gate at work and its log."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.log = LogWriter(directory, start_ns=START_NS)
        self.frame = 1
        self.now = START_NS
        self.decoder = Decoder()
        self.limits = limits
        self.gate = Gate(limits, halt=Word(), backend="numpy")
        self.prices = Prices(self.gate, self.decoder.topic_name)
        self.number = 0
        self.out: dict[int, list[Any]] = {}  # number -> request, leaves
        self.answers: list[str] = []
        self.write("C", instrument(VENUE, SYMBOL))
        self.write("C", connect(VENUE, 1, []))
        ((self.instrument, definition),) = self.decoder.instruments()
        self.gate.define(self.instrument, definition)

    def write(self, kind: str, payload: bytes) -> None:
        self.now += STEP_NS
        self.frame += 1
        connection = int(kind != "C")
        self.log.write([Line(self.now, connection, kind, payload)])
        head = f"{self.frame} {self.now} {self.now} {connection} {kind} {len(payload)} "
        batch = self.decoder.decode(head.encode() + payload + b"\n")
        if len(batch):
            self.prices.take(batch)

    def say(self, **fields: Any) -> None:
        self.write("C", json.dumps(fields).encode())

    def price(self, mantissa: int) -> None:
        data = {"e": "trade", "E": 1, "T": 1, "s": SYMBOL, "t": self.frame, "q": "1"}
        data |= {"p": f"{mantissa / 100:.2f}", "X": "MARKET", "m": True}
        self.write("W", json.dumps({"stream": "btcusdt@trade", "data": data}).encode())

    def depth(self, update: int, bid: int, ask: int) -> None:
        """A change of the book: one level more on each side."""
        levels = [f"{mantissa / 100:.2f}" for mantissa in (bid, ask)]
        data = {"e": "depthUpdate", "E": 1, "T": 1, "s": SYMBOL, "U": update, "u": update}
        data |= {"pu": update - 1, "b": [[levels[0], "1"]], "a": [[levels[1], "1"]]}
        self.write("W", json.dumps({"stream": "btcusdt@depth@100ms", "data": data}).encode())

    def book(self, update: int, bid: int, ask: int) -> None:
        """The snapshot of the book, as REST tells it."""
        bids, asks = ([[f"{mantissa / 100:.2f}", "1"]] for mantissa in (bid, ask))
        said = {"lastUpdateId": update, "E": 1, "T": 1, "bids": bids, "asks": asks}
        head = f"GET /fapi/v1/depth?symbol={SYMBOL}&limit=1000 200\n".encode()
        self.write("R", head + json.dumps(said).encode())

    def account(self, equity: int) -> None:
        self.say(kind="account", account="main", currency="USDT", equity=equity, free=equity)
        state = AccountState(currency="USDT", equity=equity, free=equity)
        self.gate.account("main", state, mono_ns=self.now)

    def request(self, side: Side, price: int | None, size: int) -> Request:
        return Request(
            client_id=1 << 32 | self.number,
            strategy="s",
            account="main",
            instrument=self.instrument,
            venue=VENUE,
            symbol=SYMBOL,
            side=side,
            price=price,
            size=size,
        )

    def order(self, side: Side, price: int | None, size: int) -> int | None:
        self.number += 1
        request = self.request(side, price, size)
        at = self.now + STEP_NS  # the record's own stamp
        answer = self.gate.check(request, self.number, mono_ns=at, wall_ns=at)
        named = {name: getattr(request, name) for name in request.__struct_fields__}
        self.decided("new", answer, **named)
        if isinstance(answer, Denied):
            return None
        self.out[self.number] = [request, size]
        return self.number

    def decided(self, action: str, answer: object, number: int = 0, **fields: Any) -> None:
        said: dict[str, Any] = {"verdict": "approved"}
        if isinstance(answer, Denied):
            said = {"verdict": "denied", "reason": answer.reason.name, "vector": answer.vector}
        self.answers.append(said.get("reason", "approved"))
        number = number or self.number
        said |= {"kind": "risk", "action": action, "number": number, "limits": self.limits.hash}
        self.say(**said, **fields)

    def fill(self, number: int, size: int, price: int) -> None:
        leaves = self.out[number][1]
        self.say(kind="execution", exec_id=str(self.frame), number=number, size=size, price=price)
        self.gate.filled(number, size=size, price=price)
        self.out[number][1] = leaves - size
        if leaves == size:
            self.end(number, "filled")

    def end(self, number: int, state: str) -> None:
        self.say(kind="order", number=number, state=state, venue=VENUE, symbol=SYMBOL, client_id=1)
        self.gate.released(number)
        del self.out[number]

    def replace(self, number: int, price: int, size: int, *, is_taken: bool) -> None:
        at = self.now + STEP_NS
        answer = self.gate.check_replace(number, price=price, size=size, mono_ns=at, wall_ns=at)
        self.decided("replace", answer, number, price=price, size=size)
        if not isinstance(answer, ApprovedReplace):
            return
        request, leaves = self.out[number]
        news = {"kind": "order", "number": number, "venue": VENUE, "symbol": SYMBOL, "client_id": 1}
        self.say(**news, state="pending_replace")
        if is_taken:
            self.say(**news, state="accepted", order_price=price, order_size=size)
            self.gate.replaced(number, price=price, size=size)
            wanted = msgspec.structs.replace(request, price=price, size=size)
            self.out[number] = [wanted, leaves + size - request.size]
        else:
            asked = {"order_price": request.price, "order_size": request.size}
            self.say(**news, state="accepted", **asked)
            self.gate.replace_refused(number)

    def cancel(self, number: int) -> None:
        at = self.now + STEP_NS
        self.decided("cancel", self.gate.check_cancel(number, mono_ns=at), number)

    def close(self) -> None:
        self.log.close()


def asked(directory: Path, limits: Limits, **bounds: int) -> WhatIf:
    return what_if(directory, limits, **bounds)


OWN = (
    {"order_qty_max": "0.050", "position_max": "0.120", "order_notional_max": "4000"},
    {"collar_bps": 50, "open_orders_max": 4, "gross_max": "9000"},
    {"orders_max": 20, "orders_window_ms": 1_000, "duplicate_window_ms": 60},
    {"reference_age_ms_max": 100, "free_balance_min": "500", "cancel_ratio_pct_max": 60},
)


@pytest.mark.parametrize("seed", range(6))
def test_the_limits_of_a_session_change_none_of_its_decisions(tmp_path: Path, seed: int) -> None:
    """Whatever the session did, everything that the gate knew is in the log."""
    dice = Random(seed)
    limits = limits_of(row(**{name: value for each in OWN for name, value in each.items()}))
    session = Session(tmp_path, limits)
    session.account(100_000 * 10**8)
    price = 6_000_000
    for _ in range(400):
        price += dice.randrange(-2_000, 2_001)
        known = dice.choice(sorted(session.out)) if session.out else None
        match dice.randrange(9):
            case 0 | 1 | 2:
                session.price(price)
            case 3 | 4 | 5:
                side: Side = dice.choice(("B", "A"))
                session.order(side, price + dice.randrange(-40_000, 40_000), dice.randrange(70))
            case 6 if known is not None:
                leaves = session.out[known][1]
                session.fill(known, dice.randrange(1, leaves + 1), price)
            case 7 if known is not None:
                session.cancel(known)
                session.end(known, dice.choice(("cancelled", "expired")))
            case 8 if known is not None:
                size = dice.randrange(session.out[known][0].size, 80)
                if session.out[known][1] == session.out[known][0].size:
                    session.replace(known, price, size, is_taken=dice.random() < 0.5)
            case _:
                session.account(dice.randrange(1_000, 100_000) * 10**8)
    session.close()
    report = asked(tmp_path, limits)
    assert dict(report.changed) == {}, report.examples
    assert (report.judged, dict(report.not_judged)) == (len(session.answers), {})
    assert dict(report.recorded_under) == {limits.hash: len(session.answers)}
    # It was a session that said no for many reasons.
    assert len(set(session.answers)) > 4


def small_session(directory: Path) -> Session:
    session = Session(directory, limits_of(row(order_qty_max="0.010")))
    session.account(10**14)
    session.price(6_000_000)
    for size in (5, 10, 11, 30):
        session.order("B", 6_000_000, size)
    session.close()
    return session


def test_books_price_the_replayed_gate_as_they_priced_the_one_of_the_session(
    tmp_path: Path,
) -> None:
    """There is neither quote nor trade; a gap takes the price away."""
    limits = limits_of(row(collar_bps=100))
    session = Session(tmp_path, limits)
    session.account(10**14)
    session.depth(10, 5_990_000, 6_010_000)
    session.order("B", 6_000_000, 5)
    session.book(9, 5_000_000, 7_000_000)
    session.order("B", 6_000_000, 6)
    session.order("B", 6_065_000, 7)
    session.depth(11, 6_005_000, 6_009_000)
    session.order("B", 6_065_000, 8)
    session.depth(13, 6_005_000, 6_009_000)
    session.order("B", 6_000_000, 9)
    session.close()
    missing = "MISSING_REFERENCE"
    assert session.answers == [missing, "approved", "PRICE_COLLAR", "approved", missing]
    report = asked(tmp_path, limits)
    assert (report.same, dict(report.changed)) == (len(session.answers), {})
    wider = asked(tmp_path, limits_of(row(collar_bps=200)))
    assert dict(wider.changed) == {("PRICE_COLLAR", "approved"): 1}


def test_other_limits_decide_otherwise_and_say_where(tmp_path: Path) -> None:
    session = small_session(tmp_path)
    assert session.answers == ["approved", "approved", "MAX_ORDER_QTY", "MAX_ORDER_QTY"]
    wider = asked(tmp_path, limits_of(row(order_qty_max="0.020")))
    assert dict(wider.changed) == {("MAX_ORDER_QTY", "approved"): 1}
    assert (wider.same, wider.decisions) == (3, 4)
    tighter = asked(tmp_path, limits_of(row(order_qty_max="0.005")))
    assert dict(tighter.changed) == {("approved", "MAX_ORDER_QTY"): 1}
    (example,) = tighter.examples["approved", "MAX_ORDER_QTY"]
    assert (example.number, example.size, example.side, example.account) == (2, 10, "B", "main")
    assert example.figures["limit"] == 5


def test_exposure_is_that_of_what_happened(tmp_path: Path) -> None:
    """The new limits would have let the second order through: it did not leave."""
    session = Session(tmp_path, limits_of(row(order_qty_max="0.010", position_max="0.030")))
    session.account(10**14)
    session.price(6_000_000)
    first = session.order("B", 6_000_000, 10)
    session.order("B", 6_000_000, 20)
    session.order("B", 6_000_000, 9)
    assert first is not None
    session.fill(first, 10, 6_000_000)
    session.order("B", 6_000_000, 10)
    session.close()
    assert session.answers == ["approved", "MAX_ORDER_QTY", "approved", "approved"]
    report = asked(tmp_path, limits_of(row(order_qty_max="0.020", position_max="0.030")))
    assert dict(report.changed) == {("MAX_ORDER_QTY", "approved"): 1}
    # Nothing would have left, and yet the position is what was filled.
    report = asked(tmp_path, limits_of(row(order_qty_max="0.010", position_max="0.025")))
    assert dict(report.changed) == {("approved", "POSITION_LIMIT"): 1}


def test_a_loss_limit_of_a_single_strategy_is_not_asked(tmp_path: Path) -> None:
    session = Session(tmp_path, limits_of(row()))
    for at in range(2):
        session.account(10**14)
        session.price(6_000_000)
        session.order("B", 6_000_000 + at, 10)
        session.say(kind="start", version="0", node=1)
        session.write("C", connect(VENUE, 1, []))
    session.close()
    report = asked(tmp_path, limits_of(row(), LimitConfig(strategy="s", daily_loss_max="1")))
    assert (report.same, dict(report.changed)) == (2, {})


def test_a_time_range_counts_only_what_is_in_it(tmp_path: Path) -> None:
    session = small_session(tmp_path)
    wanted = limits_of(row(order_qty_max="0.040"))
    last_ns = session.now
    report = asked(tmp_path, wanted, from_ns=last_ns, to_ns=last_ns + 1)
    assert (report.decisions, dict(report.changed)) == (1, {("MAX_ORDER_QTY", "approved"): 1})
    assert asked(tmp_path, wanted, to_ns=START_NS).decisions == 0


def test_what_no_limit_decided_is_not_judged(tmp_path: Path) -> None:
    session = Session(tmp_path, limits_of())
    fields = {"kind": "risk", "action": "new", "number": 1, "verdict": "denied"}
    session.say(**fields, reason="HALTED")
    session.say(**fields, reason="OUTBOX")
    session.say(**fields, reason="MAX_ORDER_QTY")  # says nothing of what was asked
    session.say(**fields | {"number": None}, reason="MAX_ORDER_QTY")
    session.say(**fields | {"side": "X"})
    request = session.request("B", 6_000_000, 1)
    named = {name: getattr(request, name) for name in request.__struct_fields__}
    session.say(**named, kind="risk", action="new", number=2, verdict="approved")
    session.close()
    report = asked(tmp_path, limits_of())
    assert (report.judged, report.decisions) == (0, 5)
    assert dict(report.not_judged) == {
        "HALTED": 1,
        "OUTBOX": 1,
        "malformed": 2,
        "no number": 1,
        "MISSING_REFERENCE so early in the log": 1,
    }


def test_a_restart_keeps_what_is_held_and_out(tmp_path: Path) -> None:
    limits = limits_of(row(position_max="0.030"))
    session = Session(tmp_path, limits)
    session.account(10**14)
    session.price(6_000_000)
    first = session.order("B", 6_000_000, 10)
    assert first is not None
    session.order("B", 6_000_001, 10)
    session.fill(first, 10, 6_000_000)
    session.say(kind="start", version="0", node=1)
    session.account(10**14)
    session.write("C", connect(VENUE, 1, []))
    session.price(6_000_000)
    session.order("B", 6_000_002, 10)
    session.order("B", 6_000_003, 1)
    session.close()
    assert session.answers == ["approved", "approved", "approved", "POSITION_LIMIT"]
    report = asked(tmp_path, limits)
    assert (report.same, dict(report.changed)) == (4, {})
