"""The Binance broker over loopback against the stand-in process: orders and faults.

What the stand-in received is compared with what was sent: nothing goes out twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from risk.brokers.binance.config import Market
from risk.errors import NotSentError
from risk.orders import ReportKind
from tests.harness.binance_stand import Stand, Trading, standing, trading, wanted

MARKETS: tuple[Market, ...] = ("spot", "usdm")
NUMBERS = count(1)


@pytest.fixture(params=MARKETS, scope="module")
def stand(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    folder: Path = tmp_path_factory.mktemp("stand")
    with standing(request.param, folder) as standing_in:
        yield standing_in


@pytest.fixture
def ref() -> str:
    """Never used before, as the router has them."""
    return f"T{next(NUMBERS):05}"


def sent(stand: Stand, ref: str, method: str = "order.place") -> list[dict[str, Any]]:
    return [
        each for each in stand.requests(method) if each.get("newClientOrderId") == f"tickd-{ref}"
    ]


async def test_place_ack_partial_fill_cancel(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        trader.place(ref)
        await trader.until_kinds(ref, "ACKED")
        venue_id = trader.of(ref)[0].venue_id
        await trader.control("fill", client_id=f"tickd-{ref}", size="0.25", price="9999.5")
        await trader.until_kinds(ref, "FILL")
        trader.broker.cancel(wanted(ref, venue_id))
        await trader.until_kinds(ref, "CANCELLED")
    (fill,) = [each for each in trader.of(ref) if each.kind is ReportKind.FILL]
    assert (fill.price, fill.size, fill.cum_size) == (9_999_50, 25_000, 25_000)
    assert fill.exec_id.startswith("BTCUSDT:")
    assert (fill.fee, fill.fee_currency) == (99_995_000, "USDT")  # 0.25 x 9999.5 x 0.0004
    (end, *_) = [each for each in trader.of(ref) if each.kind is ReportKind.CANCELLED]
    assert (end.cum_size, end.venue_id) == (25_000, venue_id)


async def test_cancel_by_our_reference_before_the_venue_gave_a_number(
    stand: Stand, ref: str
) -> None:
    async with trading(stand) as trader:
        trader.place(ref)
        trader.broker.cancel(wanted(ref))
        await trader.until_kinds(ref, "ACKED", "CANCELLED")


async def test_every_kind_of_order_says_what_the_venue_wants(stand: Stand, ref: str) -> None:
    spot = stand.market == "spot"
    async with trading(stand) as trader:
        trader.place(ref, price=None)
        trader.place(f"{ref}I", time_in_force="ioc")
        trader.place(f"{ref}F", time_in_force="fok")
        trader.place(f"{ref}P", time_in_force="post_only", side="A")
        trader.place(f"{ref}R", price=1_50, size=1, side="A", reduce_only=True)
        await trader.until_kinds(ref, "ACKED", "FILL")
        await trader.until_kinds(f"{ref}I", "ACKED", "EXPIRED")
        await trader.until_kinds(f"{ref}F", "ACKED", "EXPIRED")
        await trader.until_kinds(f"{ref}P", "ACKED")
        await trader.until_kinds(f"{ref}R", "ACKED")
    (market,), (ioc,) = sent(stand, ref), sent(stand, f"{ref}I")
    (post,), (reducing,) = sent(stand, f"{ref}P"), sent(stand, f"{ref}R")
    assert (market["type"], "price" in market, market["quantity"]) == ("MARKET", False, "1")
    assert (ioc["type"], ioc["timeInForce"], ioc["price"]) == ("LIMIT", "IOC", "10000")
    assert post["type"] == ("LIMIT_MAKER" if spot else "LIMIT")
    assert post.get("timeInForce") == (None if spot else "GTX")
    assert post["side"] == "SELL"
    assert (reducing["price"], reducing["quantity"]) == ("1.5", "0.00001")
    assert reducing.get("reduceOnly") == (None if spot else "true")


async def test_replace_in_place(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        trader.place(ref)
        await trader.until_kinds(ref, "ACKED")
        order = wanted(ref, trader.of(ref)[0].venue_id)
        price = order.price if stand.market == "spot" else 9_998_00
        trader.broker.replace(order, price=price, size=50_000)
        await trader.until_kinds(ref, "REPLACED", "REPLACED")  # by the answer and by the stream
        replaced = [each for each in trader.of(ref) if each.kind is ReportKind.REPLACED]
        assert {(each.price, each.size) for each in replaced} == {(price, 50_000)}
        await trader.control("fill", client_id=f"tickd-{ref}")
        await trader.until_kinds(ref, "FILL")  # it is still ours
        trader.broker.replace(order, price=price, size=40_000)
        await trader.until_kinds(ref, "REPLACE_REJECTED")


async def test_spot_refuses_a_replace_that_is_a_new_order(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        order = wanted(ref, "BTCUSDT:1")
        if stand.market == "spot":
            for price, size in ((9_998_00, 50_000), (10_000_00, 100_001)):
                with pytest.raises(NotSentError, match="cancel and place"):
                    trader.broker.replace(order, price=price, size=size)
        with pytest.raises(NotSentError, match="market order"):
            trader.broker.replace(order, price=None, size=1)


# fault -> what is reported of the order: so many at least, and in this order where it matters
ORDERED = {
    "ack_lost": ["ACKED", "IN_DOUBT"],
    "silent": ["IN_DOUBT"],
    "fill_before_ack": ["FILL", "ACKED", "ACKED"],
    "phantom_new": ["ACKED", "ACKED", "FILL", "ACKED"],
    "duplicate": ["ACKED", "ACKED", "ACKED"],
    "reorder": ["ACKED", "FILL", "ACKED"],
    "reject": ["REJECTED"],
    "status_5xx": ["ACKED", "IN_DOUBT"],
    "unknown_status": ["ACKED", "IN_DOUBT"],
    "unreadable_event": ["ACKED", "IN_DOUBT"],
    "ack_late": ["ACKED", "ACKED"],
}


@pytest.mark.parametrize("fault", ORDERED)
async def test_fault_gives_its_reports_and_no_second_order(
    stand: Stand, ref: str, fault: str
) -> None:
    async with trading(stand) as trader:
        await trader.control("fault", kind=fault)
        trader.place(ref)
        await trader.until(lambda: len(trader.of(ref)) >= len(ORDERED[fault]))
        assert trader.kinds(ref) == ORDERED[fault]
        assert trader.count(ReportKind.LINE_DOWN) == 0
    assert len(sent(stand, ref)) == 1


async def test_answer_after_the_timeout_still_finds_its_order(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        await trader.control("fault", kind="ack_late", ms=900)
        trader.place(ref)
        await trader.until_kinds(ref, "ACKED", "ACKED", "IN_DOUBT")
        assert trader.kinds(ref) == ["ACKED", "IN_DOUBT", "ACKED"]
        assert trader.broker.counters.timeouts == 1
    assert len(sent(stand, ref)) == 1


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [("disconnect_after_write", True), ("disconnect_before", False), ("garbage", True)],
)
async def test_lost_line_is_told_and_the_snapshot_tells_the_rest(
    stand: Stand, ref: str, fault: str, arrived: bool
) -> None:
    async with trading(stand) as trader:
        await trader.control("fault", kind=fault)
        trader.place(ref)
        await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)
        lines = [each.kind.name for each in trader.reports if not each.ref]
        assert lines == ["LINE_UP", "LINE_DOWN", "LINE_UP"]
        snapshot = await trader.broker.snapshot()
        assert snapshot.is_healthy
        listed = [each for each in snapshot.orders if each.ref == ref]
        assert [each.is_open for each in listed] == [True] * arrived
        assert "IN_DOUBT" not in trader.kinds(ref)  # LINE_DOWN says it of all
    assert len(sent(stand, ref)) == 1


async def test_stream_that_says_nothing_of_an_accepted_order_is_not_trusted(
    stand: Stand, ref: str
) -> None:
    async with trading(stand, stream_silence_s=0.2) as trader:
        await trader.control("fault", kind="event_lost")
        trader.place(ref)
        await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)
        (down,) = [each for each in trader.reports if each.kind is ReportKind.LINE_DOWN]
        assert "no event" in down.reason
        assert trader.kinds(ref) == ["ACKED"]
        trader.place(f"{ref}N")
        await trader.until_kinds(f"{ref}N", "ACKED", "ACKED")
        assert trader.broker.is_up
    assert len(sent(stand, ref)) == 1


async def test_reject_storm(stand: Stand) -> None:
    refs = [f"S{next(NUMBERS):05}" for _ in range(50)]
    async with trading(stand) as trader:
        await trader.control("fault", kind="reject", count=50)
        for ref in refs:
            trader.place(ref)
        await trader.until(lambda: trader.count(ReportKind.REJECTED) == 50)
        assert [trader.kinds(ref) for ref in refs] == [["REJECTED"]] * 50
        assert {each.code for each in trader.reports if each.ref} == {"-2010"}


async def test_cancels_that_fail(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        trader.broker.cancel(wanted(ref, "BTCUSDT:999999"))
        await trader.until_kinds(ref, "CANCEL_REJECTED")
        assert trader.of(ref)[0].code == "-2011"
        trader.place(f"{ref}B")
        await trader.until_kinds(f"{ref}B", "ACKED", "ACKED")
        await trader.control("fault", kind="silent", on="order.cancel")
        trader.broker.cancel(wanted(f"{ref}B", trader.of(f"{ref}B")[0].venue_id))
        await trader.until_kinds(f"{ref}B", "IN_DOUBT")


async def test_duplicate_of_an_open_order_is_in_doubt_and_not_rejected(
    stand: Stand, ref: str
) -> None:
    """The venue's refusal proves that an order of this reference is live."""
    async with trading(stand) as trader:
        trader.place(ref)
        await trader.until_kinds(ref, "ACKED", "ACKED")
        trader.place(ref)
        await trader.until_kinds(ref, "IN_DOUBT")
        assert trader.of(ref)[-1].code == ("-2010" if stand.market == "spot" else "-4116")


async def test_refused_timestamp_is_a_rejection_and_the_clock_is_asked_again(
    stand: Stand, ref: str
) -> None:
    async with trading(stand) as trader:
        await trader.control("set", skew_ms=60_000)
        try:
            trader.place(ref)
            await trader.until_kinds(ref, "REJECTED")
            assert trader.of(ref)[0].code == "-1021"
            for number in count(1):
                trader.place(f"{ref}N{number}")
                await trader.until(lambda last=number: bool(trader.of(f"{ref}N{last}")))
                if trader.kinds(f"{ref}N{number}")[0] == "ACKED":
                    break
                assert number < 100
            assert trader.count(ReportKind.LINE_DOWN) == 0
        finally:
            await trader.control("set", skew_ms=0)


async def test_venue_ends_orders_by_itself(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        for suffix, status in (("A", "EXPIRED"), ("B", "EXPIRED_IN_MATCH")):
            trader.place(ref + suffix)
            await trader.until_kinds(ref + suffix, "ACKED", "ACKED")
            await trader.control("end", client_id=f"tickd-{ref}{suffix}", status=status)
            await trader.until_kinds(ref + suffix, "EXPIRED")
            assert trader.of(ref + suffix)[-1].code == status


async def test_orders_of_others_are_counted_and_not_reported(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        foreign = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT"}
        await trader.control(
            "place", **foreign, price="9", quantity="1", newClientOrderId=f"web-{ref}"
        )
        await trader.until(lambda: trader.broker.counters.events_foreign == 1)
        assert {each.kind for each in trader.reports} == {ReportKind.LINE_UP}


async def test_no_order_leaves_while_the_line_is_down(stand: Stand, ref: str) -> None:
    async with trading(stand) as trader:
        await trader.control("set", takes_sockets=False)
        try:
            await trader.control("cut")
            await trader.until(lambda: trader.count(ReportKind.LINE_DOWN) == 1)
            with pytest.raises(NotSentError):
                trader.place(ref)
            with pytest.raises(NotSentError):
                trader.broker.replace(wanted(ref, "BTCUSDT:1"), price=10_000_00, size=1)
        finally:
            await trader.control("set", takes_sockets=True)
        await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)
        trader.place(f"{ref}N")
        await trader.until_kinds(f"{ref}N", "ACKED")
    assert not sent(stand, ref)
    assert trader.reports[-1].kind is ReportKind.LINE_DOWN  # the broker was stopped


async def test_cancels_take_the_detour_while_the_line_is_down(stand: Stand, ref: str) -> None:
    """A kill must not wait for a WebSocket."""
    async with trading(stand) as trader:
        trader.place(ref)
        trader.place(f"{ref}B")
        await trader.until_kinds(f"{ref}B", "ACKED", "ACKED")
        await trader.control("set", takes_sockets=False)
        try:
            await trader.control("cut")
            await trader.until(lambda: trader.count(ReportKind.LINE_DOWN) == 1)
            await trader.control("fault", kind="rest_5xx", on="/order", count=2)
            for _ in range(3):  # as a cancel-all asks again and again
                trader.broker.cancel(wanted(ref, trader.of(ref)[0].venue_id))
            trader.broker.cancel(wanted(f"{ref}X"))
            await trader.until_kinds(ref, "IN_DOUBT")
            await trader.until_kinds(f"{ref}X", "IN_DOUBT")
            trader.broker.cancel(wanted(ref, trader.of(ref)[0].venue_id))
            trader.broker.cancel(wanted(f"{ref}B"))
            trader.broker.cancel(wanted(f"{ref}X"))
            await trader.until_kinds(ref, "CANCELLED")
            await trader.until_kinds(f"{ref}B", "CANCELLED")
            await trader.until_kinds(f"{ref}X", "CANCEL_REJECTED")
        finally:
            await trader.control("set", takes_sockets=True)
        await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)
    assert len([each for each in stand.requests("DELETE") if each["symbol"] == "BTCUSDT"]) == 3


@pytest.mark.parametrize(
    "event",
    [
        {"e": "serverShutdown", "E": 1},
        {"e": "eventStreamTerminated", "E": 1},
        {"e": "listenKeyExpired", "E": 1},
        {"e": "executionReport", "c": 5},
        {"e": "ORDER_TRADE_UPDATE", "o": 7},
    ],
    ids=lambda event: event["e"],
)
async def test_end_of_the_stream_or_a_hole_in_it_begins_a_new_session(
    stand: Stand, event: dict[str, Any]
) -> None:
    other = "ORDER_TRADE_UPDATE" if stand.market == "spot" else "executionReport"
    async with trading(stand) as trader:
        await trader.control("say", **event)
        if event["e"] == other:
            await trader.until(lambda: trader.broker.counters.events_unknown == 1)
        else:
            await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)


async def test_symbol_outside_of_the_account_does_not_leave(stand: Stand, ref: str) -> None:
    async with trading(stand, symbols=("BTCUSDT",)) as trader:
        with pytest.raises(NotSentError, match="ETHUSDT"):
            trader.place(ref, symbol="ETHUSDT")
        for broken in ("", "a b", "x" * 20):
            with pytest.raises(NotSentError, match="reference"):
                trader.place(broken)
        for price, size in ((0, 1), (1, 0), (-5, 1), (1, -1), (1 << 63, 1)):
            with pytest.raises(NotSentError, match="mantissa"):
                trader.place(ref, price=price, size=size)
        trader.place(ref)
        await trader.until_kinds(ref, "ACKED")
    assert len(sent(stand, ref)) == 1


async def test_random_faults_never_make_a_second_order(tmp_path: Path) -> None:
    """Every order that the venue has was sent once, and a healthy snapshot knows its fate."""
    with standing("usdm", tmp_path, "--seed", "7", "--chaos", "0.4") as stand:
        async with trading(stand) as trader:
            placed = await _place_through_chaos(trader, 60)
            await trader.until(lambda: trader.broker.is_up)
            snapshot = await trader.broker.snapshot()
            assert snapshot.is_healthy
        log = stand.log()
        assert len(log["faults"]) > 10
        received = Counter(
            each["newClientOrderId"] for each in log["requests"] if each["method"] == "order.place"
        )
        assert max(received.values()) == 1
        assert set(received) <= {f"tickd-{ref}" for ref in placed}
        assert {each["client_id"] for each in log["orders"]} == {
            f"tickd-{each.ref}" for each in snapshot.orders
        }
        # What neither answer, event nor the snapshot tells of has never been at the venue.
        told = {each.ref for each in trader.reports} | {each.ref for each in snapshot.orders}
        silent = set(placed) - told
        assert not {f"tickd-{ref}" for ref in silent} & {
            each["client_id"] for each in log["orders"]
        }


async def _place_through_chaos(trader: Trading, orders: int) -> list[str]:
    placed = []
    for number in range(orders):
        await trader.until(lambda: trader.broker.is_up)
        ref = f"C{number:05}"
        trader.place(ref, size=1_000)
        placed.append(ref)
        await trader.until(lambda last=ref: bool(trader.of(last)) or not trader.broker.is_up)
    return placed
