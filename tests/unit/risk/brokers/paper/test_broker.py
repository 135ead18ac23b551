"""The paper broker: the port over the exchange, on a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from risk.approval import SEAL, ApprovedOrder
from risk.brokers.paper.broker import PaperBroker
from risk.brokers.paper.config import PaperConfig, PaperFaults
from risk.errors import NotSentError
from risk.orders import Report, ReportKind, Request, Side, VenuePosition, Wanted
from tests.harness.paper_world import INSTRUMENT, batches, definition, quote, trade
from tickd.testing.clock import ManualClock

MONEY = 100_000_000
AT_ONCE: dict[str, Any] = {"entry_us": (0,), "response_us": (0,)}


class Desk:
    """A broker, what it reported, and what it asked the loop to call."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.reports: list[Report] = []
        self.soon: list[Callable[[], None]] = []
        self.seq = 0
        self.broker = PaperBroker(
            PaperConfig(**{"name": "paper", **config}),
            account="paper",
            on_report=self.reports.append,
            clock=self.clock,
            call_soon=self.soon.append,
        )
        self.broker.define(INSTRUMENT, definition())

    @property
    def now(self) -> int:
        return self.clock.wall_ns()

    def quote(self, bid: int, ask: int) -> None:
        self.seq += 1 << 16
        (batch,) = batches([quote(self.now, (bid, 50), (ask, 30))], seq=self.seq)
        self.broker.take(batch)

    def send(self, number: int, side: Side, price: int | None, size: int) -> Wanted:
        request = Request(
            client_id=number,
            strategy="s",
            account="paper",
            instrument=INSTRUMENT,
            venue="okx",
            symbol="ABC",
            side=side,
            price=price,
            size=size,
        )
        ref = f"A{number:05d}"
        self.broker.send(ApprovedOrder(request, number, 0, seal=SEAL), ref)
        return Wanted(
            number=number,
            ref=ref,
            venue_id="",
            instrument=INSTRUMENT,
            symbol="ABC",
            side=side,
            price=price,
            size=size,
        )

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()

    @property
    def kinds(self) -> list[str]:
        return [report.kind.name for report in self.reports]


def test_without_latency_answers_come_in_the_same_turn_and_never_within_send() -> None:
    desk = Desk(**AT_ONCE)
    desk.quote(100, 110)
    wanted = desk.send(1, "B", 110, 40)
    desk.broker.cancel(wanted)
    assert (desk.reports, len(desk.soon)) == ([], 1)
    desk.turn()
    assert desk.kinds == ["ACKED", "FILL", "CANCELLED"]
    acked, fill, cancelled = desk.reports
    assert acked == Report(
        kind=ReportKind.ACKED, ref="A00001", venue_id="P1", cum_size=0, ts_event_ns=desk.now
    )
    assert (fill.exec_id, fill.price, fill.size, fill.cum_size) == ("P1-1", 110, 30, 30)
    assert (fill.fee, fill.fee_currency) == (110 * 30 * 50_000, "USDT")
    assert cancelled.cum_size == 30


def test_the_next_burst_tells_what_is_due_too() -> None:
    desk = Desk(**AT_ONCE)
    desk.quote(100, 110)
    desk.send(1, "B", 100, 40)
    desk.quote(100, 111)
    assert desk.kinds == ["ACKED"]
    desk.turn()
    assert desk.kinds == ["ACKED"]


def test_latency_passes_without_a_market() -> None:
    async def run() -> None:
        desk = Desk(entry_us=(5_000,), response_us=(2_000,))
        desk.quote(100, 110)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(desk.broker.run(), name="broker")
            await asyncio.sleep(0)
            wanted = desk.send(1, "B", 100, 40)
            await desk.clock.advance(0.006)
            assert desk.kinds == []
            await desk.clock.advance(0.0015)
            assert desk.kinds == ["ACKED"]
            desk.broker.replace(wanted, price=101, size=20)
            desk.broker.cancel(wanted)
            await desk.clock.advance(0.008)
            assert desk.kinds == ["ACKED", "REPLACED", "CANCELLED"]
            # Nothing under way: it sleeps until it is asked.
            assert desk.clock.sleepers_count == 0
            running.cancel()

    asyncio.run(run())


def test_a_snapshot_is_what_the_venue_has_not_what_was_heard() -> None:
    desk = Desk(
        entry_us=(0,),
        response_us=(1_000_000,),
        balance="1000",
        leverage=10,
        taker_rate="0.001",
        maker_rate="0",
    )
    desk.quote(100, 110)
    desk.send(1, "B", 110, 10)
    desk.send(2, "A", 120, 5)
    desk.quote(104, 110)
    desk.send(3, "B", 90, 1)
    snapshot = asyncio.run(desk.broker.snapshot())
    assert (desk.reports, snapshot.is_healthy) == ([], True)
    assert snapshot.asked_mono_ns == desk.clock.mono_ns()
    listed = {order.ref: (order.is_open, order.end, order.cum_size) for order in snapshot.orders}
    assert listed == {
        "A00001": (False, "filled", 10),
        "A00002": (True, "", 0),
        "A00003": (True, "", 0),
    }
    assert [(fill.exec_id, fill.size, fill.ref) for fill in snapshot.fills] == [
        ("P1-1", 10, "A00001")
    ]
    assert snapshot.positions == (VenuePosition(symbol="ABC", size=10),)
    account = snapshot.account
    assert account is not None
    # 10 bought at 110, worth 104; fee 1.1; margin 104, and 60 and 9 for the orders.
    assert account.unrealised == -60 * MONEY
    assert account.equity == (1000 - 60) * MONEY - 110_000_000
    assert account.margin_used == 104 * MONEY
    assert account.free == account.equity - (104 + 60 + 9) * MONEY


def test_executions_are_counted_though_nobody_heard_of_them_for_long() -> None:
    """The exchange lists 10,000 of them."""
    desk = Desk(entry_us=(0,), response_us=(60_000_000,), maker_rate="0", taker_rate="0")
    for number in range(1, 10_502):
        desk.quote(100, 110 + number % 2)
        desk.send(number, "B", None, 1)
    snapshot = asyncio.run(desk.broker.snapshot())
    assert (desk.reports, len(snapshot.fills)) == ([], 10_000)
    assert snapshot.positions == (VenuePosition(symbol="ABC", size=10_501),)


def test_a_new_process_lists_nothing_and_knows_no_order() -> None:
    desk = Desk(**AT_ONCE)
    desk.quote(100, 110)
    wanted = desk.send(1, "B", 100, 10)
    desk.turn()
    after = Desk(**AT_ONCE)
    snapshot = asyncio.run(after.broker.snapshot())
    assert (snapshot.is_healthy, snapshot.orders, snapshot.fills) == (True, (), ())
    after.broker.cancel(wanted)
    after.turn()
    assert [(each.kind, each.ref, each.code) for each in after.reports] == [
        (ReportKind.CANCEL_REJECTED, "A00001", "unknown_order")
    ]


def cancelled_all(desk: Desk, seconds: float) -> int:
    async def run() -> int:
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(desk.broker.cancel_all(), name="cancel all")
            await desk.clock.advance(seconds)
            assert asked.done()
        return asked.result()

    return asyncio.run(run())


def test_cancel_all_goes_on_until_nothing_is_open() -> None:
    """A third of the requests get lost: lost orders never were, lost cancels are sent again."""
    desk = Desk(**AT_ONCE, faults=PaperFaults(lost_request_share=0.3))
    desk.quote(100, 110)
    for number in range(1, 101):
        desk.send(number, "B", 99, 1)
    assert cancelled_all(desk, 1.0) == 0
    snapshot = asyncio.run(desk.broker.snapshot())
    assert {order.end for order in snapshot.orders} == {"cancelled"}
    assert 50 < len(snapshot.orders) < 90


def test_cancel_all_gives_up_and_says_what_is_left() -> None:
    desk = Desk(entry_us=(10_000_000,))
    desk.quote(100, 110)
    for number in (1, 2):
        desk.send(number, "B", 99, 1)
    assert cancelled_all(desk, 5.1) == 2


def test_lost_acks_leave_an_order_that_only_a_snapshot_shows() -> None:
    desk = Desk(**AT_ONCE, faults=PaperFaults(lost_ack_share=1.0))
    desk.quote(100, 110)
    desk.send(1, "B", 100, 10)
    desk.turn()
    assert desk.reports == []
    (order,) = asyncio.run(desk.broker.snapshot()).orders
    assert (order.ref, order.is_open, order.venue_id) == ("A00001", True, "P1")


def test_late_acks_come_behind_their_fills() -> None:
    desk = Desk(**AT_ONCE, faults=PaperFaults(late_ack_share=1.0, late_ack_ms=5))
    desk.quote(100, 110)
    desk.send(1, "B", 110, 10)
    desk.turn()
    desk.clock.move(5_000_000)
    desk.broker.advance()
    assert desk.kinds == ["FILL", "ACKED"]


def test_what_cannot_leave_says_so() -> None:
    desk = Desk(**AT_ONCE)
    wanted = desk.send(1, "B", 100, 10)
    with pytest.raises(NotSentError, match="is there"):
        desk.send(1, "B", 100, 10)
    with pytest.raises(NotSentError, match="market order"):
        desk.broker.replace(wanted, price=None, size=1)
    full = Desk(open_orders_max=1)
    for number in range(4):
        full.send(number, "B", 100, 1)
    with pytest.raises(NotSentError, match="under way"):
        full.send(9, "B", 100, 1)
    with pytest.raises(NotSentError, match="under way"):
        full.broker.cancel(wanted)
    with pytest.raises(NotSentError, match="under way"):
        full.broker.replace(wanted, price=1, size=1)


def test_what_has_no_terms_is_refused_order_by_order() -> None:
    desk = Desk(**AT_ONCE)
    desk.broker.define(INSTRUMENT + 1, definition(tick=0, asset_class="index"))
    (batch,) = batches([trade(desk.now, 100, 1, "B")], instrument=INSTRUMENT + 1)
    desk.broker.take(batch)
    desk.send(1, "B", 100, 1)
    desk.turn()
    assert desk.kinds == ["ACKED"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"currency": "usdt"}, "currency"),
        ({"balance": "-1"}, "negative"),
        ({"balance": "lots"}, "balance: not a decimal"),
        ({"maker_rate": "1"}, "maker_rate must lie"),
        ({"taker_rate": "0.123456789"}, "taker_rate"),
        ({"leverage": 0}, "leverage is 0"),
        ({"queue_power": 9}, "queue_power is 9"),
        ({"entry_us": ()}, "entry_us needs"),
        ({"response_us": (-1,)}, "response_us: 0 to"),
        ({"books": ("BTCUSDT",)}, "not venue:symbol"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PaperConfig(name="paper", **change)


@pytest.mark.parametrize("change", [{"reject_share": 1.1}, {"late_ack_ms": -1}])
def test_faults_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        PaperFaults(**change)


def test_books_are_followed_by_pattern() -> None:
    config = PaperConfig(name="paper", books=("okx:*-SWAP", "binance-usdm:BTCUSDT"))
    assert config.follows("okx", "BTC-USDT-SWAP")
    assert config.follows("binance-usdm", "BTCUSDT")
    assert not config.follows("binance", "BTCUSDT")
