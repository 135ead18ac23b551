"""The Shioaji broker against its stand-in: the SDK's own order classes, foreign threads, faults.

Method: every order's reports are compared as a sequence; the desk counts what really arrived.
"""

from __future__ import annotations

import asyncio
import threading
from random import Random

import pytest

from risk.brokers.shioaji.broker import BROKER, ShioajiBroker
from risk.errors import BrokerError, NotSentError
from risk.orders import ReportKind
from tests.harness.order_requests import (
    API_KEY,
    CA_PASSWORD,
    SECRET_KEY,
    approved,
    config,
    context,
    wanted,
)
from tickd.errors import Action
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock

shioaji = pytest.importorskip("shioaji")

from tests.harness.shioaji_order_world import order_world  # noqa: E402 - after the skip
from tickd.testing.shioaji_desk import DeskFault, OrderDesk  # noqa: E402
from tickd.testing.shioaji_trades import Position  # noqa: E402


async def test_place_acknowledge_fill_in_parts_and_cancel_the_rest():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.fill("00000A", 1, 580.5)
        await world.heard(ReportKind.FILL, "00000A")
        world.desk.fill("00000A", 1, 580.0)
        await world.until(lambda: len(world.fills()) == 2)
        world.broker.cancel(wanted("00000A"))
        await world.heard(ReportKind.CANCELLED, "00000A")
        await world.settled()
        assert world.kinds("00000A") == ["ACKED", "FILL", "FILL", "CANCELLED", "CANCELLED"]
        first, second = world.fills()
        assert (first.price, first.size, second.price, second.size) == (58_050, 1, 58_000, 1)
        assert first.exec_id != second.exec_id
        assert first.ts_event_ns == 1_784_000_000_250_000_000
        order = world.desk.placed[0]
        assert isinstance(order, shioaji.StockOrder)
        assert (order.price, order.quantity, order.custom_field) == (580.5, 3, "00000A")
        assert world.desk.calls["place"] == 1


async def test_futures_messages_find_their_order_without_our_field():
    async with order_world(desk={"market": "futures"}) as world:
        await world.place("00000F", symbol="TXFF6", price=2_150_000, size=2)
        world.desk.fill("00000F", 2, 21_500.0)
        fill = await world.heard(ReportKind.FILL, "00000F")
        assert (fill.price, fill.size) == (2_150_000, 2)
        assert isinstance(world.desk.placed[0], shioaji.FuturesOrder)
        assert {each.ref for each in world.reports} == {"", "00000F"}  # "": the line is up
        world.broker.send(approved(symbol="TXFR1", side="A", time_in_force="ioc", price=None), "1")
        await world.heard(ReportKind.ACKED, "1")
        assert world.desk.placed[1].price_type == shioaji.FuturesPriceType.MKT


async def test_deal_before_the_order_message_keeps_its_reference():
    faults = [DeskFault(1, "deal_first", 1), DeskFault(1, "silent")]
    async with order_world(desk={"faults": faults}) as world:
        world.broker.send(approved(), "00000A")
        await world.heard(ReportKind.ACKED, "00000A")
        assert world.kinds("00000A") == ["FILL", "ACKED"]


async def test_futures_deal_before_anything_else_waits_for_its_order():
    faults = [DeskFault(1, "deal_first", 1)]
    async with order_world(desk={"market": "futures", "faults": faults}) as world:
        world.broker.send(approved(symbol="TXFF6", size=1), "00000F")
        await world.heard(ReportKind.FILL)
        await world.settled()
        assert sorted(world.kinds("00000F")) == ["ACKED", "FILL"]
        assert [each.ref for each in world.fills()] == ["00000F"]


async def test_lost_acknowledgement_reports_nothing_and_resends_nothing():
    async with order_world(desk={"faults": [DeskFault(1, "ack_lost")]}) as world:
        world.broker.send(approved(), "00000A")
        await world.until(lambda: len(world.desk.trades) == 1)
        for _ in range(20):
            await world.clock.advance(1.0)
        await world.settled()
        assert world.kinds("00000A") == []
        assert world.desk.calls["place"] == 1
        snapshot = await world.broker.snapshot()
        assert [(each.ref, each.is_open) for each in snapshot.orders] == [("00000A", True)]


async def test_late_acknowledgement_identifies_the_order_and_frees_its_cancel():
    async with order_world(desk={"faults": [DeskFault(1, "ack_late")]}) as world:
        world.broker.send(approved(), "00000A")
        await world.until(lambda: world.desk.late)
        world.broker.cancel(wanted("00000A"))
        await world.settled()
        assert world.desk.calls["cancel"] == 0
        world.desk.release()
        await world.heard(ReportKind.CANCELLED, "00000A")
        assert world.desk.sequence == [("place", "00000A"), ("cancel", "00000A")]


async def test_cancel_of_an_order_that_never_gets_an_id_is_given_up():
    async with order_world(desk={"faults": [DeskFault(1, "ack_lost")]}) as world:
        world.broker.send(approved(), "00000A")
        await world.until(lambda: len(world.desk.trades) == 1)
        world.broker.cancel(wanted("00000A"))
        report = await world.heard(ReportKind.CANCEL_REJECTED, "00000A", moving=1.0)
        assert report.code == "ID_UNKNOWN"
        assert world.desk.calls["cancel"] == 0


async def test_phantom_message_after_the_fill_is_told_and_decides_nothing():
    async with order_world(desk={"faults": [DeskFault(1, "phantom")]}) as world:
        await world.place("00000A", size=1)
        world.desk.fill("00000A", 1, 580.5)
        await world.until(lambda: len(world.kinds("00000A")) == 3)
        assert world.kinds("00000A") == ["ACKED", "FILL", "ACKED"]


async def test_reject_storm_gives_every_order_its_code_and_reason():
    faults = [DeskFault(number, "reject", 9938) for number in range(1, 11)]
    async with order_world(desk={"faults": faults}) as world:
        for number in range(1, 11):
            world.broker.send(approved(number), f"R{number}")
        await world.until(lambda: world.kinds().count("REJECTED") >= 10)
        await world.settled()
        told = [each for each in world.reports if each.kind is ReportKind.REJECTED]
        assert {each.ref for each in told} == {f"R{number}" for number in range(1, 11)}
        assert {(each.code, each.reason) for each in told if each.code} == {("9938", "退單")}


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (DeskFault(1, "unknown"), ReportKind.IN_DOUBT, "OrderOutcomeUnknownError"),
        (DeskFault(1, "raise", words="ShioajiTimeoutError"), ReportKind.IN_DOUBT, None),
        (DeskFault(1, "raise", words="ServerError"), ReportKind.IN_DOUBT, None),
        (DeskFault(1, "raise", words="CaError"), ReportKind.REJECTED, "CaError"),
        (DeskFault(1, "raise", words="TokenError"), ReportKind.REJECTED, "TokenError"),
        (DeskFault(1, "failed", words="非委託時間"), ReportKind.REJECTED, None),
        (DeskFault(1, "failed", words="連線逾時,請再確認委託狀態"), ReportKind.IN_DOUBT, None),
    ],
)
async def test_failure_is_a_refusal_only_where_it_is_proven(fault, kind, code):
    async with order_world(desk={"faults": [fault]}) as world:
        world.broker.send(approved(), "00000A")
        report = await world.heard(kind, "00000A")
        await world.settled()
        assert world.kinds("00000A") == [kind.name]
        assert code in (None, report.code)
        assert world.desk.calls["place"] == 1


async def test_disconnect_behind_the_write_leaves_the_order_in_doubt_and_comes_back():
    async with order_world(desk={"faults": [DeskFault(1, "down")]}) as world:
        world.broker.send(approved(), "00000A")
        await world.heard(ReportKind.LINE_DOWN)
        assert not world.broker.is_up
        with pytest.raises(NotSentError, match="line is down"):
            world.broker.send(approved(2), "00000B")
        with pytest.raises(BrokerError, match="line is down"):
            await world.broker.snapshot()
        world.desk.newest.session(13)
        await world.until(lambda: world.broker.is_up)
        assert world.kinds() == ["LINE_UP", "LINE_DOWN", "LINE_UP"]
        assert world.desk.calls["place"] == 1


async def test_orders_that_wait_when_the_line_goes_down_never_leave():
    async with order_world() as world:
        world.desk.gate.clear()
        world.broker.send(approved(1), "00000A")
        await world.until(lambda: world.desk.calls["place"] == 1)
        world.broker.send(approved(2), "00000B")
        world.desk.newest.session(1)
        report = await world.heard(ReportKind.REJECTED, "00000B")
        assert report.code == "LINE_DOWN"
        world.desk.gate.set()
        await world.heard(ReportKind.ACKED, "00000A")
        assert world.desk.sequence == [("place", "00000A")]


async def test_duplicated_messages_are_told_once():
    async with order_world(desk={"faults": [DeskFault(1, "duplicate", 3)]}) as world:
        await world.place("00000A")
        world.desk.fill("00000A", 1, 580.5)
        await world.heard(ReportKind.FILL)
        await world.settled()
        assert world.kinds("00000A") == ["ACKED", "FILL"]


@pytest.mark.parametrize("seed", range(6))
async def test_reordered_messages_all_find_their_orders(seed):
    desk = {"market": "futures", "seed": seed, "reorders": True}
    async with order_world(desk=desk) as world:
        for number in range(1, 6):
            world.broker.send(approved(number, symbol="TXFF6", size=2), f"F{number}")
        await world.until(lambda: len(world.desk.trades) == 5)
        await world.settled()  # the answers of the calls; no message has come
        for number in range(1, 6):
            world.desk.fill(f"F{number}", 1, 580.5)
            world.desk.fill(f"F{number}", 1, 580.5)
        world.desk.shuffle()
        await world.until(lambda: len(world.fills()) == 10)
        await world.settled()
        assert sorted(each.ref for each in world.fills()) == sorted(
            f"F{number}" for number in range(1, 6) for _ in "ab"
        )
        assert len({each.exec_id for each in world.fills()}) == 10
        assert world.kinds().count("ACKED") == 5


async def test_dead_session_that_looks_logged_in_is_found_and_replaced():
    async with order_world() as world:
        world.desk.newest.is_dead = True
        await world.heard(ReportKind.LINE_DOWN, moving=0.5)
        await world.until(lambda: len(world.desk.clients) == 2 and world.broker.is_up, moving=0.5)
        assert world.desk.calls["login"] == 2
        await world.place("00000A")


async def test_skewed_venue_clock_is_told_as_it_is():
    async with order_world(desk={"skew_seconds": -3600.5}) as world:
        await world.place("00000A")
        world.desk.fill("00000A", 1, 580.5)
        fill = await world.heard(ReportKind.FILL)
        assert fill.ts_event_ns == 1_784_000_000_250_000_000 - 3_600_500_000_000


async def test_cancels_overtake_new_orders():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.gate.clear()
        world.broker.send(approved(2), "00000B")
        await world.until(lambda: world.desk.calls["place"] == 2)
        for number in range(3, 8):
            world.broker.send(approved(number), f"C{number}")
        world.broker.cancel(wanted("00000A"))
        world.desk.gate.set()
        await world.until(lambda: world.desk.calls["place"] == 7)
        calls = [each for each in world.desk.sequence if each[1] != "00000B"]
        assert calls[1] == ("cancel", "00000A")


async def test_order_that_is_cancelled_while_it_waits_never_leaves():
    async with order_world() as world:
        world.desk.gate.clear()
        world.broker.send(approved(1), "00000A")
        await world.until(lambda: world.desk.calls["place"] == 1)
        world.broker.send(approved(2), "00000B")
        world.broker.cancel(wanted("00000B"))
        world.desk.gate.set()
        await world.heard(ReportKind.ACKED, "00000A")
        assert (await world.heard(ReportKind.REJECTED, "00000B")).code == "WITHDRAWN"
        assert world.desk.sequence == [("place", "00000A")]


async def test_halt_between_queue_and_call_never_leaves():
    async with order_world() as world:
        world.desk.gate.clear()
        world.broker.send(approved(1), "00000A")
        await world.until(lambda: world.desk.calls["place"] == 1)
        world.broker.send(approved(2), "00000B")
        world.halted = True
        world.desk.gate.set()
        assert (await world.heard(ReportKind.REJECTED, "00000B")).code == "HALTED"
        await world.heard(ReportKind.ACKED, "00000A")
        world.broker.cancel(wanted("00000A"))  # a halt stops no cancel
        await world.heard(ReportKind.CANCELLED, "00000A")
        assert world.desk.sequence == [("place", "00000A"), ("cancel", "00000A")]


async def test_change_after_a_halt_never_leaves():
    async with order_world() as world:
        await world.place("00000A")
        world.halted = True
        world.broker.replace(wanted("00000A"), price=57_000, size=3)
        assert (await world.heard(ReportKind.REPLACE_REJECTED, "00000A")).code == "HALTED"
        assert world.desk.calls["update"] == 0


async def test_approval_that_cannot_be_confirmed_never_leaves():
    async with order_world() as world:
        world.breaks = True
        world.broker.send(approved(), "00000A")
        report = await world.heard(ReportKind.REJECTED, "00000A")
        assert (report.code, report.reason) == ("HALTED", "not confirmed: RuntimeError")
        assert world.desk.calls["place"] == 0


async def test_order_that_waited_too_long_never_leaves():
    async with order_world() as world:
        world.desk.gate.clear()
        world.broker.send(approved(1), "00000A")
        await world.until(lambda: world.desk.calls["place"] == 1)
        world.broker.send(approved(2), "00000B")
        world.clock.move(600_000_000)
        world.desk.gate.set()
        assert (await world.heard(ReportKind.REJECTED, "00000B")).code == "STALE"


async def test_limit_of_calls_refuses_new_orders_and_keeps_a_share_for_cancels():
    async with order_world(orders_per_10s_max=10) as world:
        for number in range(1, 11):
            world.broker.send(approved(number), f"A{number}")
        await world.until(lambda: world.kinds().count("REJECTED") == 2)
        rejected = [each.code for each in world.reports if each.kind is ReportKind.REJECTED]
        assert rejected == ["RATE_LIMIT", "RATE_LIMIT"]
        assert world.desk.calls["place"] == 8
        await world.until(lambda: world.kinds().count("ACKED") == 8)
        for number in range(1, 4):
            world.broker.cancel(wanted(f"A{number}"))
        await world.until(lambda: world.desk.calls["cancel"] == 2)
        await world.settled()
        assert world.desk.calls["cancel"] == 2  # the third waits for the window, and goes then
        world.clock.move(11_000_000_000)
        world.broker.cancel(wanted("A4"))
        await world.until(lambda: world.desk.calls["cancel"] == 4)


async def test_full_queue_refuses_before_anything_leaves():
    async with order_world(queue_orders_max=1) as world:
        world.desk.gate.clear()
        world.broker.send(approved(1), "00000A")
        await world.until(lambda: world.desk.calls["place"] == 1)
        world.broker.send(approved(2), "00000B")
        with pytest.raises(NotSentError, match="queue is full"):
            world.broker.send(approved(3), "00000C")


async def test_price_and_size_are_changed_one_at_a_time():
    async with order_world() as world:
        await world.place("00000A")
        order = wanted("00000A")
        with pytest.raises(NotSentError, match="not both"):
            world.broker.replace(order, price=57_000, size=2)
        world.broker.replace(order, price=57_000, size=3)
        with pytest.raises(NotSentError, match="being changed"):
            world.broker.replace(order, price=57_050, size=3)
        report = await world.heard(ReportKind.REPLACED, "00000A")
        assert (report.price, report.size) == (57_000, 3)
        world.broker.replace(wanted("00000A", price=57_000), price=57_000, size=2)
        await world.until(lambda: world.kinds().count("REPLACED") == 2)
        second = [each for each in world.reports if each.kind is ReportKind.REPLACED][1]
        assert (second.price, second.size) == (57_000, 2)
        world.broker.replace(wanted("00000A", price=57_000, size=2), price=57_000, size=1)
        await world.until(lambda: world.kinds().count("REPLACED") == 3)
        third = [each for each in world.reports if each.kind is ReportKind.REPLACED][2]
        assert third.size == 1  # the venue counts everything taken away, or this step
        assert world.desk.trade("00000A").status.cancel_quantity == 2


async def test_snapshot_has_orders_deals_positions_and_money():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.fill("00000A", 1, 580.5, tells=False)  # its message is lost
        world.desk.positions = [position("2330", 1_500, 600.0)]
        snapshot = await world.broker.snapshot()
        assert snapshot.is_healthy
        (order,) = snapshot.orders
        assert (order.ref, order.price, order.size, order.cum_size) == ("00000A", 58_050, 3, 1)
        assert order.is_open
        assert [(each.ref, each.size, each.price) for each in snapshot.fills] == [
            ("00000A", 1, 58_050)
        ]
        assert {each.symbol: each.size for each in snapshot.positions} == {
            "2330": 1,
            "2330-ODD": 500,
        }
        assert snapshot.account is not None
        assert snapshot.account.free == 100_000_050_000_000
        assert snapshot.account.equity == 100_000_050_000_000 + 900_000 * 10**8


def position(code: str, quantity: int, last: float):
    return Position(code, shioaji.Action.Buy, quantity, 500.0, last, 0.0)


async def test_snapshot_tells_a_deal_under_one_id_whoever_told_it_first():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.fill("00000A", 1, 580.5)
        await world.heard(ReportKind.FILL)
        snapshot = await world.broker.snapshot()
        assert [each.exec_id for each in snapshot.fills] == [world.fills()[0].exec_id]
        world.desk.has_records = False  # as in the test environment: the Trade's list remains
        assert (await world.broker.snapshot()).fills == ()
        world.desk.fill("00000A", 1, 580.5, tells=False)
        (missed,) = (await world.broker.snapshot()).fills
        assert missed.exec_id != world.fills()[0].exec_id
        assert (await world.broker.snapshot()).fills == ()  # told once
        late = world.desk.records[-1]  # its message comes after all, under another id
        world.desk.newest.call_back(*late)
        await world.until(lambda: len(world.fills()) == 2)
        assert world.fills()[1].exec_id == missed.exec_id
        world.desk.has_records = True
        told = {each.exec_id for each in world.fills()}
        assert {each.exec_id for each in (await world.broker.snapshot()).fills} == told


async def test_degraded_cache_puts_everything_in_doubt_and_no_snapshot_is_healthy():
    async with order_world() as world:
        world.desk.newest.degrade("SequenceGap")
        report = await world.heard(ReportKind.LINE_DOWN, moving=0.5)
        assert "SequenceGap" in report.reason
        assert world.broker.is_up
        assert world.kinds() == ["LINE_UP", "LINE_DOWN", "LINE_UP"]
        assert not (await world.broker.snapshot()).is_healthy


async def test_unreadable_message_puts_everything_in_doubt():
    async with order_world() as world:
        world.desk.newest.call_back(shioaji.OrderState.StockDeal, {"trade_id": ""})
        await world.until(lambda: world.kinds() == ["LINE_UP", "LINE_DOWN", "LINE_UP"])
        await world.place("00000A")


async def test_callbacks_that_no_room_was_left_for_put_everything_in_doubt():
    async with order_world(queue_records_max=2) as world:
        client = world.desk.newest
        for _ in range(50):  # while the loop does not look
            client.call_back(shioaji.OrderState.StockOrder, {})
        client.thread.submit(int).result()
        await world.until(lambda: world.kinds()[-2:] == ["LINE_DOWN", "LINE_UP"])
        reasons = [each.reason for each in world.reports if each.kind is ReportKind.LINE_DOWN]
        assert any("callbacks were let go" in reason for reason in reasons)


async def test_cancel_all_works_without_run_and_takes_back_every_order():
    async with order_world() as world:
        for number in range(1, 4):
            await world.place(f"A{number}")
        world.desk.trades[2].order.custom_field = ""  # entered by hand
        other = ShioajiBroker(
            config(),
            context(world.clock, world.report, lambda order: False),
            factory=world.desk.client,
        )
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(other.cancel_all(), name="panic")
            await world.until(asked.done, moving=0.1)
        assert asked.result() == 0
        assert {each.status.status.value for each in world.desk.trades} == {"Cancelled"}
        assert world.desk.calls["logout"] == 1


async def test_cancel_all_logs_in_anew_where_the_line_is_down():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.newest.session(1)
        await world.heard(ReportKind.LINE_DOWN)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(world.broker.cancel_all(), name="cancel all")
            await world.until(asked.done, moving=0.5)
        assert asked.result() == 0
        assert world.desk.trade("00000A").status.status.value == "Cancelled"
        assert world.desk.calls["login"] == 2


async def test_cancel_all_says_what_is_left_at_its_deadline():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(world.broker.cancel_all(), name="cancel all")
            await world.until(asked.done, moving=1.0)
        assert asked.result() == 1


async def test_the_loop_alone_reports_and_the_order_thread_alone_calls():
    async with order_world() as world:
        await world.place("00000A")
        world.desk.fill("00000A", 1, 580.5)
        await world.heard(ReportKind.FILL)
        here = threading.get_ident()
        assert world.report_threads == {here}
        assert here not in world.desk.callback_threads | world.desk.call_threads
        assert len(world.desk.call_threads) == 1
        assert world.desk.callback_threads.isdisjoint(world.desk.call_threads)


@pytest.mark.parametrize("error", ["AuthError", "CaPasswordError"])
async def test_refused_login_is_fatal_and_shows_no_secret(error, caplog, capsys):
    desk = OrderDesk()
    changes = {}
    if error == "AuthError":
        desk.login_faults.append(shioaji.AuthError("key not accepted"))
    else:
        changes = {"ca_password": Secret("wrong")}
    broker = _alone(desk, **changes)
    try:
        with pytest.raises(BrokerError, match=error) as raised:
            await broker.run()
    finally:
        desk.close()
    assert raised.value.action is Action.FATAL
    told = str(raised.value) + caplog.text + capsys.readouterr().out
    for secret in (API_KEY, SECRET_KEY, CA_PASSWORD, "wrong"):
        assert secret not in told
        assert secret not in repr(broker)
        assert secret not in repr(config(**changes))


def _alone(desk: OrderDesk, **changes):
    bare = context(ManualClock(), lambda report: None, lambda order: True)
    return ShioajiBroker(config(**changes), bare, factory=desk.client)


async def test_simulation_needs_no_certificate_and_has_no_balance_of_its_own():
    changes = {"simulation": True, "ca_path": "", "ca_password": None}
    async with order_world(**changes) as world:
        await world.place("00000A")
        assert not world.desk.newest.has_ca
        assert (await world.broker.snapshot()).account is None
    async with order_world(**changes, simulation_funds=500_000) as world:
        account = (await world.broker.snapshot()).account
        assert account is not None
        assert account.free == 500_000 * 10**8


async def test_unknown_symbol_and_a_used_reference_never_leave():
    async with order_world() as world:
        with pytest.raises(NotSentError, match="not known on this account"):
            world.broker.send(approved(symbol="2317"), "00000A")
        await world.place("00000A")
        with pytest.raises(NotSentError, match="has been used"):
            world.broker.send(approved(2), "00000A")
        with pytest.raises(NotSentError, match="not sent by this process"):
            world.broker.cancel(wanted("ZZZZZZ"))
        assert world.desk.calls["place"] == 1


class PanicException(BaseException):
    """What the SDK raises when an object of its own cannot be read."""


class Unreadable:
    """A message whose every field panics."""

    def __getitem__(self, key: str) -> object:
        raise PanicException(key)

    get = __getitem__


async def test_message_that_panics_puts_everything_in_doubt_and_stops_nothing():
    async with order_world() as world:
        world.desk.newest.call_back(shioaji.OrderState.StockDeal, Unreadable())
        await world.until(lambda: world.kinds() == ["LINE_UP", "LINE_DOWN", "LINE_UP"])
        await world.place("00000A")


async def test_login_that_is_refused_for_a_while_is_tried_again_after_a_rest():
    async with order_world() as world:
        world.desk.login_faults.append(shioaji.SystemMaintenance("操作異常，請1分鐘後再重新登入"))
        world.desk.login_faults.append(shioaji.TokenError("Token is expired"))
        world.desk.newest.is_dead = True
        await world.heard(ReportKind.LINE_DOWN, moving=0.5)
        began_ns = world.clock.mono_ns()
        await world.until(lambda: world.broker.is_up, moving=0.5)
        assert world.desk.calls["login"] == 4
        assert world.clock.mono_ns() - began_ns >= 2 * 90 * 10**9


@pytest.mark.parametrize("market", ["stock", "futures"])
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_goes_wrong_no_fill_is_lost_or_told_twice_and_nothing_is_resent(
    market, seed
):
    dice = Random(seed)
    kinds = ["deal_first", "duplicate", "phantom", "silent", "ack_late"]
    faults = [
        DeskFault(number, kind, 1)
        for number in range(1, 13)
        for kind in dice.sample(kinds, dice.randrange(3))
    ]
    if market == "futures":  # without an answer nothing ties a futures message to its order
        faults = [each for each in faults if each.kind != "silent"]
    desk = {"market": market, "seed": seed, "faults": faults, "reorders": True}
    async with order_world(desk=desk) as world:
        symbol = "2330" if market == "stock" else "TXFF6"
        refs = [f"S{number}" for number in range(12)]
        for number, ref in enumerate(refs):
            world.broker.send(approved(number, symbol=symbol, size=4), ref)
        await world.until(lambda: len(world.desk.trades) == 12)
        await world.settled()
        world.desk.release()
        for ref in dice.sample(refs, 9):
            for _ in range(dice.randrange(1, 4)):
                world.desk.fill(ref, 1, 580.5)
        world.desk.shuffle()
        await world.settled()
        told = {each.exec_id: each for each in world.fills()}
        assert len(told) == len(world.fills())
        for trade in world.desk.trades:
            mine = [each for each in told.values() if each.ref == trade.order.custom_field]
            assert sum(each.size or 0 for each in mine) == (trade.status.deal_quantity or 0)
        assert world.desk.calls["place"] == 12
        assert "IN_DOUBT" not in world.kinds()


def test_the_table_of_an_account_makes_its_broker():
    bare = context(ManualClock(), lambda report: None, lambda order: True)
    section = config()
    assert isinstance(BROKER.make(section, bare), ShioajiBroker)
    assert BROKER.venue(section) == "shioaji"
    assert not BROKER.make(section, bare).is_up
