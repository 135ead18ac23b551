"""What other projects' gates let through: each is an order here, and both gates must refuse it.

Method: a desk with limits wide enough for all else; the name of the first reason is the claim.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import msgspec
import pytest

from risk.approval import ApprovedCancel, ApprovedOrder, ApprovedReplace, Denied
from risk.limits import LimitConfig, VenueLimitConfig
from tests.harness.gates import (
    ACCOUNT,
    DEFINITION,
    INSTRUMENT,
    OPEN,
    PRICE,
    SECOND,
    STRATEGY,
    Desk,
    limits_of,
    name_of,
    quotes,
    row,
    trades,
)
from tickd.events import Flag

Backend = Literal["native", "numpy"]


@pytest.fixture(params=["native", "numpy"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return "native" if request.param == "native" else "numpy"


@pytest.mark.parametrize("size", [50, 99])
def test_a_market_order_is_bound_by_the_quantity_limit(backend: Backend, size: int) -> None:
    desk = Desk(backend, row(order_qty_max="10"))
    assert desk.reason(price=None, size=size) == "MAX_ORDER_QTY"
    assert desk.reason(price=None, size=10) == "-"


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf"), 1.5, "100", True])
def test_a_price_that_is_no_whole_number_is_refused_before_any_other_check(
    backend: Backend, price: Any
) -> None:
    desk = Desk(backend, row(order_qty_max="1"), is_quoted=False, is_funded=False)
    assert desk.reason(price=price, size=5) == "NON_FINITE"
    assert desk.reason(size=price) == "NON_FINITE"


@pytest.mark.parametrize("size", [-5, 0])
def test_nothing_and_less_is_no_quantity(backend: Backend, size: int) -> None:
    assert Desk(backend).reason(size=size) == "BAD_QTY"


def test_orders_in_flight_count_for_the_position_limit(backend: Backend) -> None:
    desk = Desk(backend, row(position_max="100"))
    reasons = [desk.reason(size=10) for _ in range(1_000)]
    assert reasons == ["-"] * 10 + ["POSITION_LIMIT"] * 990
    assert desk.position() == (0, 100, 0)


def test_a_cancel_passes_an_empty_bucket_of_orders(backend: Backend) -> None:
    desk = Desk(backend, row(orders_max=1))
    assert [desk.reason(), desk.reason()] == ["-", "RATE_SIDE"]
    assert isinstance(desk.gate.check_cancel(1, mono_ns=desk.now), ApprovedCancel)
    desk.halt.trip()
    assert isinstance(desk.gate.check_cancel(1, mono_ns=desk.now), ApprovedCancel)


def test_cancels_have_a_lane_of_the_venues_limit(backend: Backend) -> None:
    venue = VenueLimitConfig(venue="sim", messages_max=10, window_ms=1_000, cancel_pct=20)
    desk = Desk(backend, venues=(venue,))
    assert [desk.reason() for _ in range(3)] == ["-", "RATE_VENUE", "RATE_VENUE"]
    answers = [name_of(desk.gate.check_cancel(1, mono_ns=desk.now)) for _ in range(2)]
    assert answers == ["-", "RATE_VENUE"]


def test_cancels_may_take_the_whole_limit_that_orders_left(backend: Backend) -> None:
    """Elsewhere a kill cancels at a fifth of the venue's limit while the order lane is idle."""
    venue = VenueLimitConfig(venue="sim", messages_max=100, window_ms=10_000)
    desk = Desk(backend, venues=(venue,))
    orders = [desk.reason() for _ in range(17)]
    assert orders == ["-"] * 16 + ["RATE_VENUE"]
    # What orders had to leave.
    cancels = [name_of(desk.gate.check_cancel(1, mono_ns=desk.now)) for _ in range(5)]
    assert cancels == ["-"] * 4 + ["RATE_VENUE"]
    desk.now += 10 * SECOND
    first, took = desk.now, []
    for _ in range(101):
        while name_of(desk.gate.check_cancel(1, mono_ns=desk.now)) == "-":
            took.append(desk.now - first)
        desk.now += SECOND // 10
    assert took.count(0) == 20, "all of the burst at once"
    assert sum(after <= 2.5 * SECOND for after in took) == 40, "and the rest evenly"
    assert len(took) == 100, "the whole limit"
    assert desk.reason() == "RATE_VENUE", "cancels may leave nothing"


def test_a_price_of_zero_is_no_reference(backend: Backend) -> None:
    desk = Desk(backend, is_quoted=False)
    desk.quote(0, 0)
    desk.gate.take(trades([(INSTRUMENT, 0, 0)], desk.now))
    assert desk.reason(price=None) == "MISSING_REFERENCE"
    assert desk.reason() == "MISSING_REFERENCE"
    desk.gate.take(trades([(INSTRUMENT, PRICE, int(Flag.TRIAL))], desk.now))
    assert desk.reason() == "MISSING_REFERENCE", "a trial match is no price"
    desk.gate.take(trades([(INSTRUMENT, PRICE, 0)], desk.now))
    assert desk.reason() == "-"


def test_what_is_not_known_is_refused(backend: Backend) -> None:
    assert Desk(backend, is_funded=False).reason() == "MISSING_ACCOUNT"
    assert Desk(backend, is_quoted=False).reason() == "MISSING_REFERENCE"
    assert Desk(backend, LimitConfig(tradable=True, hours=("always",))).reason() == "MISSING_LIMIT"
    assert Desk(backend, venues=()).reason() == "MISSING_LIMIT"
    assert Desk(backend).reason(instrument=78) == "UNKNOWN_INSTRUMENT"
    assert Desk(backend).reason(symbol="ABD") == "UNKNOWN_INSTRUMENT"


@pytest.mark.parametrize("name", sorted(OPEN))
def test_every_limit_must_be_written(backend: Backend, name: str) -> None:
    rows: dict[str, Any] = {key: value for key, value in OPEN.items() if key != name}
    desk = Desk(backend, LimitConfig(tradable=True, hours=("always",), **rows))
    assert desk.reason() == "MISSING_LIMIT"


def test_an_old_reference_and_one_of_the_future_are_refused(backend: Backend) -> None:
    desk = Desk(backend, row(reference_age_ms_max=1_000))
    desk.now += SECOND
    assert desk.reason() == "-"
    desk.now += 1
    assert desk.reason() == "STALE_REFERENCE"
    desk.now -= 3 * SECOND
    assert desk.reason() == "STALE_REFERENCE"


def test_a_stray_quote_does_not_end_the_book(backend: Backend) -> None:
    """Whatever age is allowed: the book that somebody keeps goes on to be the reference."""
    desk = Desk(backend, row(collar_bps=100), is_quoted=False)
    desk.gate.quote(INSTRUMENT, bid=PRICE, ask=PRICE, mono_ns=desk.now)
    desk.now += SECOND
    desk.quote(2 * PRICE, 0)
    assert desk.gate.reference(INSTRUMENT) == PRICE, "one side of it is no quote"
    desk.quote(2 * PRICE, 2 * PRICE)
    assert desk.reason() == "PRICE_COLLAR"
    desk.now += SECOND
    desk.gate.quote(INSTRUMENT, bid=PRICE, ask=PRICE, mono_ns=desk.now)
    assert desk.reason() == "-"
    assert desk.reason(price=2 * PRICE) == "PRICE_COLLAR"
    desk.gate.quote(INSTRUMENT, bid=0, ask=0, mono_ns=desk.now)
    assert desk.gate.reference(INSTRUMENT) == 2 * PRICE, "an empty book is no price"


def test_a_stray_quote_does_not_end_the_trades(backend: Backend) -> None:
    desk = Desk(backend, row(collar_bps=100), is_quoted=False, period_ms=5_000)
    desk.quote(2 * PRICE, 2 * PRICE)
    for _ in range(6):
        desk.gate.take(trades([(INSTRUMENT, PRICE, 0)], desk.now))
        assert desk.reason(price=2 * PRICE) == "-", "a quote stands for a period"
        desk.now += SECOND
    desk.gate.take(trades([(INSTRUMENT, PRICE, 0)], desk.now))
    assert desk.reason(price=2 * PRICE) == "PRICE_COLLAR"
    assert desk.gate.reference(INSTRUMENT) == PRICE


def test_an_order_to_reduce_is_held_to_the_position(backend: Backend) -> None:
    desk = Desk(backend, row(order_qty_max="60", collar_bps=100))
    assert desk.reason("A", size=1, reduce_only=True) == "REDUCE_ONLY"
    desk.gate.set_position(ACCOUNT, STRATEGY, INSTRUMENT, 100)
    answer = desk.order("A", size=101, reduce_only=True)
    assert isinstance(answer, Denied)
    assert answer.reason.name == "MAX_ORDER_QTY"
    assert desk.reason("A", price=2 * PRICE, reduce_only=True) == "PRICE_COLLAR"
    assert desk.reason("B", reduce_only=True) == "REDUCE_ONLY"
    assert [desk.reason("A", size=60, reduce_only=True) for _ in range(2)] == ["-", "REDUCE_ONLY"]
    assert desk.reason("A", size=40, reduce_only=True) == "-", "what is out already counts"


def test_the_same_order_is_a_duplicate_within_its_window_only(backend: Backend) -> None:
    desk = Desk(backend, row(duplicate_window_ms=1_000))
    reasons = []
    for _ in range(11):
        reasons.append(desk.reason())
        desk.now += 300_000_000
    assert reasons == ["-", *["DUPLICATE"] * 3] * 2 + ["-", *["DUPLICATE"] * 2]
    assert desk.reason(price=PRICE + 5) == "-"
    assert desk.reason("B", client_id=7 << 32 | 1, price=PRICE - 5) == "DUPLICATE"


def test_a_burst_before_any_answer_is_counted_on_send(backend: Backend) -> None:
    desk = Desk(backend, row(open_orders_max=3, gross_max="450"))
    assert [desk.reason(size=1) for _ in range(4)] == ["-", "-", "-", "MAX_OPEN_ORDERS"]
    desk = Desk(backend, row(gross_max="450"))
    assert [desk.reason(size=1) for _ in range(5)] == [*["-"] * 4, "GROSS_EXPOSURE"]


def test_after_silence_everything_passes_again(backend: Backend) -> None:
    desk = Desk(backend, row(orders_max=50, orders_window_ms=1_000))
    first = [desk.reason() for _ in range(60)].count("-")
    desk.now += SECOND
    assert [desk.reason() for _ in range(60)].count("-") == first == 10


def test_a_refusal_is_a_value_and_changes_nothing(backend: Backend) -> None:
    desk = Desk(backend, row(orders_max=1, order_qty_max="5"))
    assert [desk.reason(size=6) for _ in range(9)] == ["MAX_ORDER_QTY"] * 9
    assert desk.position() == (0, 0, 0)
    assert desk.reason(size=5) == "-", "no token was taken"


def test_a_halt_stops_all_but_verified_reductions_when_it_says_so(backend: Backend) -> None:
    desk = Desk(backend)
    desk.gate.set_position(ACCOUNT, STRATEGY, INSTRUMENT, -10)
    desk.halt.trip(1)
    assert desk.reason("B", reduce_only=True) == "HALTED"
    desk.halt.trip(3)
    assert desk.reason("B", size=4, reduce_only=True) == "-"
    assert desk.reason("B", size=4) == "HALTED"
    assert desk.reason("B", size=7, reduce_only=True) == "HALTED", "4 are on their way"


def test_an_approval_ends_with_its_epoch(backend: Backend) -> None:
    desk = Desk(backend)
    answer = desk.order()
    assert isinstance(answer, ApprovedOrder)
    assert desk.gate.confirm(answer)
    desk.halt.trip()
    assert not desk.gate.confirm(answer)


@pytest.mark.parametrize(
    ("scope", "key"),
    [("account", ACCOUNT), ("strategy", STRATEGY), ("instrument", 99), ("venue", "another")],
)
def test_an_approval_ends_with_any_halt_of_a_scope(backend: Backend, scope: Any, key: Any) -> None:
    desk = Desk(backend)
    answer = desk.order()
    assert isinstance(answer, ApprovedOrder)
    desk.gate.lift(scope, key)
    assert desk.gate.confirm(answer)
    desk.gate.halt(scope, key)
    desk.gate.lift(scope, key)
    assert not desk.gate.confirm(answer), "nor does lifting bring it back"
    replaced = desk.gate.check_replace(
        answer.number, price=PRICE, size=2, mono_ns=desk.now, wall_ns=desk.wall
    )
    assert isinstance(replaced, ApprovedReplace)
    assert desk.gate.confirm(replaced)
    desk.gate.halt(scope, key)
    assert not desk.gate.confirm(replaced)


def test_halting_what_is_halted_ends_no_approval_and_any_thread_may_ask(backend: Backend) -> None:
    desk = Desk(backend)
    desk.gate.halt("account", "another")
    answer = desk.order()
    assert isinstance(answer, ApprovedOrder)
    desk.gate.halt("account", "another")
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(desk.gate.confirm, answer).result()
        desk.gate.halt("account", ACCOUNT)
        assert not thread.submit(desk.gate.confirm, answer).result()


def test_the_gate_has_no_way_to_arm(backend: Backend) -> None:
    names = {name for name in dir(Desk(backend).gate) if not name.startswith("_")}
    assert not names & {"arm", "disarm", "deactivate", "reset", "open", "clear", "unhalt"}


@pytest.mark.parametrize("scope", ["global", "venue", "account", "strategy", "instrument"])
def test_a_part_is_halted_and_lifted(backend: Backend, scope: Any) -> None:
    desk = Desk(backend)
    key = {"venue": "sim", "account": ACCOUNT, "strategy": STRATEGY, "instrument": INSTRUMENT}
    desk.gate.halt(scope, key.get(scope, ""))
    assert desk.reason() == "HALTED_SCOPE"
    desk.gate.lift(scope, key.get(scope, ""))
    desk.gate.halt(scope, key.get(scope, ""), "B")
    assert [desk.reason("B"), desk.reason("A", price=PRICE + 5)] == ["SIDE_HALTED", "-"]


def test_instruments_beyond_the_bound_are_denied_and_halting_them_is_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risk.gate.INSTRUMENTS_MAX", 1)
    desk = Desk(backend)
    other = 78
    desk.gate.define(other, msgspec.json.encode({**DEFINITION, "symbol": "DEF"}))
    desk.gate.halt("instrument", other)
    desk.gate.lift("instrument", other)
    assert desk.reason() == "-"
    request = msgspec.structs.replace(desk.request(), instrument=other, symbol="DEF")
    assert name_of(desk.ask(request)) == "UNKNOWN_INSTRUMENT"


def test_every_failing_check_is_in_the_vector(backend: Backend) -> None:
    desk = Desk(backend, row(order_qty_max="5", order_notional_max="100", collar_bps=10))
    desk.halt.trip()
    answer = desk.order(price=PRICE + 1_001, size=9)
    assert isinstance(answer, Denied)
    names = {"HALTED", "BAD_TICK", "MAX_ORDER_QTY", "PRICE_COLLAR", "MAX_NOTIONAL"}
    bits = {1 << getattr(type(answer.reason), name) for name in names}
    assert answer.vector == sum(bits)
    assert answer.reason.name == "HALTED"


def test_collars_are_against_now_and_against_some_seconds_ago(backend: Backend) -> None:
    desk = Desk(backend, row(collar_bps=100, period_collar_bps=300), period_ms=5_000)
    assert desk.reason(price=PRICE + 100) == "-"
    assert desk.reason(price=PRICE + 105) == "PRICE_COLLAR"
    assert desk.reason(price=PRICE - 105) == "PRICE_COLLAR"
    desk.now += 3 * SECOND
    desk.quote(PRICE + 400, PRICE + 400)
    assert desk.reason(price=None) == "PERIOD_COLLAR", "the market itself ran away"
    desk.now += 5 * SECOND
    assert desk.reason(price=None) == "-"


def test_money_limits(backend: Backend) -> None:
    rows = row(daily_loss_max="10", drawdown_max="20", free_balance_min="50")
    desk = Desk(backend, rows, is_funded=False)
    desk.fund(100 * 10**8, equity=100 * 10**8, pnl=-9 * 10**8)
    assert desk.reason(price=PRICE, size=1) == "FREE_BALANCE"
    desk.fund(300 * 10**8, equity=100 * 10**8, pnl=-10 * 10**8)
    assert desk.reason() == "DAILY_LOSS"
    desk = Desk(backend, row(drawdown_max="20"))
    desk.fund(300 * 10**8, equity=10 * 10**8)
    assert desk.reason() == "DRAWDOWN"
    desk = Desk(backend, row(account_age_ms_max=1_000))
    desk.now += 2 * SECOND
    desk.quote()
    assert desk.reason() == "STALE_ACCOUNT"


def test_a_reduction_passes_what_a_loss_stops(backend: Backend) -> None:
    desk = Desk(backend, row(daily_loss_max="10"))
    desk.gate.set_position(ACCOUNT, STRATEGY, INSTRUMENT, 5)
    desk.fund(10**12, pnl=-11 * 10**8)
    assert [desk.reason("A"), desk.reason("A", reduce_only=True)] == ["DAILY_LOSS", "-"]


def test_an_order_must_not_meet_one_of_ours(backend: Backend) -> None:
    desk = Desk(backend)
    assert desk.reason("A", price=PRICE + 10) == "-"
    assert desk.reason("B", price=PRICE + 5) == "-"
    assert desk.reason("B", price=PRICE + 10) == "SELF_TRADE"
    assert desk.reason("B", price=None) == "SELF_TRADE"
    desk.gate.released(1)
    assert desk.reason("B", price=PRICE + 10) == "-"
    assert Desk(backend, row(self_trade="allow")).reason() == "-"


def test_so_many_executions_stop_a_strategy_until_a_person_enables_it(backend: Backend) -> None:
    desk = Desk(backend, row(executions_max=3, executions_window_ms=1_000))
    for number in (1, 2, 3):
        assert desk.reason() == "-"
        assert desk.gate.filled(number, size=1, price=PRICE)
    assert desk.reason() == "REPEATED_EXECUTION"
    desk.now += 100 * SECOND
    desk.quote()
    assert desk.reason() == "REPEATED_EXECUTION"
    desk.gate.enable(STRATEGY)
    assert desk.reason() == "-"


def test_a_reload_gives_no_executions_anew(backend: Backend) -> None:
    def executed(desk: Desk, most: int) -> int:
        done = 0
        while done < most and desk.reason() == "-":
            assert desk.gate.filled(desk.number, size=1, price=PRICE)
            desk.gate.released(desk.number)
            done += 1
        return done

    given = {"executions_window_ms": 60_000}
    desk = Desk(backend, row(executions_max=10, **given))
    assert executed(desk, 9) == 9
    desk.gate.reload(limits_of(row(executions_max=9, **given)))
    assert desk.gate.stopped() == [STRATEGY], "nine in a minute are too many now"
    assert (executed(desk, 20), desk.reason()) == (0, "REPEATED_EXECUTION")

    desk = Desk(backend, row(executions_max=10, **given))
    assert executed(desk, 5) == 5
    desk.now += 30 * SECOND
    desk.quote()
    assert executed(desk, 1) == 1
    desk.gate.reload(limits_of(row(executions_max=7, **given)))
    assert desk.gate.stopped() == []
    assert executed(desk, 20) == 1, "the seventh of a minute"

    desk = Desk(backend, row(executions_max=10, **given))
    assert executed(desk, 9) == 9
    desk.now += 60 * SECOND
    desk.quote()
    assert executed(desk, 1) == 1
    desk.gate.reload(limits_of(row(executions_max=9, **given)))
    assert executed(desk, 20) == 8, "the nine of before are out of the window"


def test_a_strategy_that_is_stopped_is_told_until_a_person_enables_it(backend: Backend) -> None:
    desk = Desk(backend, row(executions_max=1))
    assert desk.reason() == "-"
    assert desk.gate.stopped() == []
    desk.gate.filled(1, size=1, price=PRICE)
    assert desk.gate.stopped() == [STRATEGY]
    desk.gate.enable(STRATEGY)
    assert desk.gate.stopped() == []


def test_the_fall_of_equity_is_counted_from_the_peak_of_an_earlier_life(backend: Backend) -> None:
    desk = Desk(backend, row(drawdown_max="10"), is_funded=False)
    assert desk.gate.peak(ACCOUNT) is None
    desk.gate.set_peak(ACCOUNT, 110 * 10**8)
    desk.fund(100 * 10**8)
    assert (desk.reason(), desk.gate.peak(ACCOUNT)) == ("DRAWDOWN", 110 * 10**8)
    desk.gate.set_peak(ACCOUNT, 0)
    assert (desk.reason(), desk.gate.peak(ACCOUNT)) == ("-", 100 * 10**8)
    desk.fund(90 * 10**8)
    assert desk.reason() == "DRAWDOWN"


@pytest.mark.parametrize("side", ["B", "A"])
def test_a_row_that_denies_self_trades_ends_a_wider_exception(backend: Backend, side: str) -> None:
    other = "A" if side == "B" else "B"
    wide = row(self_trade="allow")
    for narrow, reason in (
        (LimitConfig(strategy=STRATEGY, self_trade="deny"), "SELF_TRADE"),
        (LimitConfig(instrument="sim:ABC", side=other, self_trade="deny"), "SELF_TRADE"),
        (LimitConfig(strategy="other", self_trade="deny"), "-"),
        (LimitConfig(strategy=STRATEGY), "-"),
    ):
        for rows in ((wide, narrow), (narrow, wide)):
            desk = Desk(backend, *rows)
            assert desk.reason(side, PRICE) == "-"
            assert desk.reason(other, PRICE) == reason
    desk = Desk(backend, row(), LimitConfig(strategy=STRATEGY, self_trade="allow"))
    assert [desk.reason(side, PRICE), desk.reason(other, PRICE)] == ["-", "-"], "nobody denies it"


def test_too_many_cancels_stop_new_orders(backend: Backend) -> None:
    desk = Desk(backend, row(cancel_ratio_pct_max=50), cancel_ratio_orders_min=4)
    for number in (1, 2, 3, 4):
        assert desk.reason() == "-"
        if number > 1:
            desk.gate.check_cancel(number, mono_ns=desk.now)
    assert desk.reason() == "CANCEL_RATIO"
    desk.now += 61 * SECOND
    assert desk.reason() == "-", "a new window"


def test_restricted_hours_and_what_is_not_tradable(backend: Backend) -> None:
    assert Desk(backend, restricted=("sim:ABC",)).reason() == "RESTRICTED"
    assert Desk(backend, row(tradable=None)).reason() == "NOT_TRADABLE"
    assert Desk(backend, row(), LimitConfig(strategy=STRATEGY, tradable=False)).reason() == (
        "NOT_TRADABLE"
    )
    desk = Desk(backend, row(hours=("mon-fri 08:45-13:45",), timezone="Asia/Taipei"))
    assert desk.reason() == "TRADING_WINDOW"
    desk.wall += 63 * 3_600 * SECOND  # Monday 09:00 in Taipei
    assert desk.reason() == "-"
    desk.wall += 5 * 3_600 * SECOND
    assert desk.reason() == "TRADING_WINDOW"


@pytest.mark.parametrize(
    ("symbol", "asset_class", "reason"),
    [
        # As the venues' definitions have them; a multiplier in dollars is no multiplier of a price.
        ("BTC-USD-SWAP", "perpetual", "NOT_TRADABLE"),
        ("BTC-USD-241227", "future", "NOT_TRADABLE"),
        ("BTC-USD-241227-50000-C", "option", "NOT_TRADABLE"),
        ("BTCUSD_PERP", "perpetual", "NOT_TRADABLE"),
        ("BTCUSD_241227", "future", "NOT_TRADABLE"),
        ("1000SHIBUSD_PERP", "perpetual", "NOT_TRADABLE"),
        ("BTCUSD", "index", "NOT_TRADABLE"),
        ("ABC", "index", "NOT_TRADABLE"),
        ("ABC", "warrant", "NOT_TRADABLE"),
        ("ABC", "", "NOT_TRADABLE"),
        ("BTC-USDT-SWAP", "perpetual", "-"),
        ("BTC-USDC-241227", "future", "-"),
        ("BTCUSDT", "perpetual", "-"),
        ("BTCUSDT_241227", "future", "-"),
        ("BTC-USD", "spot", "-"),
        ("TXFF6", "future", "-"),
        ("2330", "stock", "-"),
    ],
)
def test_only_what_is_known_to_be_linear_has_a_worth(
    backend: Backend, symbol: str, asset_class: str, reason: str
) -> None:
    definition = {
        "venue": "sim",
        "symbol": symbol,
        "asset_class": asset_class,
        "price_scale": 1,
        "size_scale": 0,
        "tick": 1,
        "lot": 1,
        "multiplier": "1",
    }
    desk = Desk(backend, definition=definition)
    assert desk.reason(symbol=symbol) == reason


def test_what_does_not_fit_is_refused_and_never_raises(backend: Backend) -> None:
    desk = Desk(backend)
    assert desk.reason(size=1 << 62) == "-", "huge, and within limits that are not there"
    desk = Desk(backend, definition={**DEFINITION_OF_LARGE_WORTH})
    assert desk.reason(size=(1 << 62) // 5 * 5) == "OVERFLOW"
    assert desk.reason(client_id=-1) == "MALFORMED"
    assert desk.reason(client_id="x") == "MALFORMED"
    assert desk.reason(side="X") == "MALFORMED"
    assert desk.reason(account=["main"]) == "MALFORMED"


DEFINITION_OF_LARGE_WORTH = {
    "venue": "sim",
    "symbol": "ABC",
    "asset_class": "spot",
    "price_scale": 0,
    "size_scale": 0,
    "tick": 5,
    "lot": 1,
    "multiplier": "1000000000",
}


def test_a_venues_two_instruments_share_the_limits_of_their_key(backend: Backend) -> None:
    desk = Desk(backend, row(), LimitConfig(account=ACCOUNT, gross_max="250"))
    desk.gate.take(quotes([(INSTRUMENT, PRICE, PRICE)], desk.now))
    assert [desk.reason(strategy=f"s{each}") for each in range(3)] == ["-", "-", "GROSS_EXPOSURE"]
