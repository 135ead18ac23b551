"""What the Binance broker asks over REST, and who may: snapshots, cancel-all, credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from risk.brokers.binance.broker import BinanceBroker
from risk.brokers.binance.config import Market
from risk.errors import BrokerError
from risk.orders import AccountState, Report, ReportKind, VenuePosition
from tests.harness.binance_stand import (
    API_KEY,
    SCALES,
    SECRET,
    Stand,
    Trading,
    key_files,
    standing,
    trading,
)
from tickd.clock import SystemClock
from tickd.errors import Action

MARKETS: tuple[Market, ...] = ("spot", "usdm")
LISTING = {"spot": "/api/v3/openOrders", "usdm": "/fapi/v1/openOrders"}


@pytest.fixture(params=MARKETS)
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    with standing(request.param, tmp_path) as standing_in:
        yield standing_in


def alone(stand: Stand, **settings: Any) -> BinanceBroker:
    """A broker that does not run, as `tickd panic` has it."""

    def heard(report: Report) -> None:
        raise AssertionError(f"reported without a session: {report}")

    return BinanceBroker(
        stand.config(**settings), clock=SystemClock(), on_report=heard, scales_of=SCALES.get
    )


async def some_orders(trader: Trading) -> None:
    """One half filled, one filled, one cancelled by the venue, one market sale of ETH."""
    for ref in ("OPEN01", "DONE01", "ENDED1"):
        trader.place(ref)
        await trader.until_kinds(ref, "ACKED", "ACKED")
    await trader.control("fill", client_id="tickd-OPEN01", size="0.5")
    await trader.control("fill", client_id="tickd-DONE01", price="9999")
    await trader.control("end", client_id="tickd-ENDED1")
    trader.place("SOLD01", symbol="ETHUSDT", price=None, size=2_500, side="A")
    await trader.until_kinds("SOLD01", "FILL")


async def test_snapshot_lists_orders_fills_positions_and_money(stand: Stand) -> None:
    async with trading(stand) as trader:
        await some_orders(trader)
        await trader.control(
            "place", symbol="BTCUSDT", side="BUY", type="LIMIT", price="5", quantity="1"
        )
        snapshot = await trader.broker.snapshot()
    assert snapshot.is_healthy
    orders = {each.ref: each for each in snapshot.orders}
    half, done, sold = orders["OPEN01"], orders["DONE01"], orders["SOLD01"]
    assert (half.is_open, half.price, half.size, half.cum_size) == (
        True,
        10_000_00,
        100_000,
        50_000,
    )
    assert (done.is_open, done.end, done.cum_size) == (False, "filled", 100_000)
    assert (orders["ENDED1"].end, orders["ENDED1"].cum_size) == ("expired", 0)
    assert (sold.side, sold.price, sold.size) == ("A", None, 2_500)
    assert orders[""].price == 500  # somebody else's, in a symbol of ours
    live = {each.exec_id: each for each in trader.reports if each.kind is ReportKind.FILL}
    listed = {each.exec_id: each for each in snapshot.fills}
    assert live.keys() == listed.keys()
    for exec_id, fill in listed.items():
        said = live[exec_id]
        assert (fill.ref, fill.venue_id, fill.price, fill.size) == (
            said.ref,
            said.venue_id,
            said.price,
            said.size,
        )
        assert (fill.fee, fill.fee_currency) == (said.fee, said.fee_currency)
    assert set(snapshot.positions) == {
        VenuePosition(symbol="BTCUSDT", size=150_000),
        VenuePosition(symbol="ETHUSDT", size=-2_500),
    }
    fees = sum(each.fee for each in listed.values())
    money = 1_000_000 * 10**8 - fees
    if stand.market == "spot":
        money -= (5_000 + 9_999 - 25) * 10**8
    assert snapshot.account == AccountState(currency="USDT", equity=money, free=money)


async def test_more_orders_than_one_answer_holds_are_all_listed(tmp_path: Path) -> None:
    with standing("usdm", tmp_path) as stand:
        async with trading(stand, answer_timeout_s=10.0) as trader:
            refs = {f"B{number:05}" for number in range(1_100)}
            for ref in refs:
                trader.place(ref, size=1, time_in_force="ioc")
            await trader.until(lambda: trader.count(ReportKind.EXPIRED) == len(refs))
            snapshot = await trader.broker.snapshot()
    assert snapshot.is_healthy
    assert {each.ref for each in snapshot.orders} == refs


async def test_snapshot_without_a_session_is_whole_but_not_healthy(stand: Stand) -> None:
    async with trading(stand) as trader:
        await some_orders(trader)
    snapshot = await alone(stand).snapshot()
    assert not snapshot.is_healthy
    assert {each.ref for each in snapshot.orders} == {"OPEN01", "DONE01", "ENDED1", "SOLD01"}


async def test_line_lost_while_asking_makes_the_snapshot_unhealthy(stand: Stand) -> None:
    async with trading(stand) as trader:
        await trader.control("fault", kind="rest_timeout", on=LISTING[stand.market], ms=300)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(trader.broker.snapshot(), name="snapshot")
            await trader.control("cut")
            await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)
        assert not asking.result().is_healthy


async def test_questions_are_repeated_and_unfinished_lists_are_not_believed(stand: Stand) -> None:
    path = LISTING[stand.market]
    async with trading(stand, query_timeout_s=0.3) as trader:
        for kind in ("rest_5xx", "rest_timeout"):
            await trader.control("fault", kind=kind, on=path, count=2, ms=600)
            assert (await trader.broker.snapshot()).is_healthy
        await trader.control("fault", kind="rest_5xx", on=path, count=3)
        with pytest.raises(BrokerError, match="503") as caught:
            await trader.broker.snapshot()
        assert caught.value.action is Action.RETRY
        await trader.control("fault", kind="unfinished_list", on=path)
        with pytest.raises(BrokerError, match="cannot be read"):
            await trader.broker.snapshot()


async def test_broken_limit_holds_questions_back_and_no_cancel(stand: Stand) -> None:
    async with trading(stand) as trader:
        trader.place("LEFT01")
        await trader.until_kinds("LEFT01", "ACKED")
        await trader.control("fault", kind="rest_429", on=LISTING[stand.market])
        with pytest.raises(BrokerError, match="429"):
            await trader.broker.snapshot()
        with pytest.raises(BrokerError, match="not asked"):
            await trader.broker.snapshot()
        assert await trader.broker.cancel_all() == 0
        await trader.until_kinds("LEFT01", "CANCELLED")


async def test_cancel_all_without_a_session_leaves_only_what_is_not_ours(stand: Stand) -> None:
    async with trading(stand) as trader:
        for number in range(20):
            trader.place(f"MANY{number:02}", size=1_000)
        await trader.until_kinds("MANY19", "ACKED", "ACKED")
        await trader.control(
            "place", symbol="ETHUSDT", side="BUY", type="LIMIT", price="5", quantity="1"
        )
    stand.order("fault", kind="rest_5xx", on="/time")
    stand.order("fault", kind="rest_5xx", on=LISTING[stand.market])
    stand.order("fault", kind="rest_5xx", on="/order", count=3)
    assert await alone(stand).cancel_all() == 0
    states = {each["client_id"]: each["status"] for each in stand.log()["orders"]}
    assert {state for name, state in states.items() if name.startswith("tickd-")} == {"CANCELED"}
    assert [state for name, state in states.items() if not name.startswith("tickd-")] == ["NEW"]


async def test_cancel_all_tells_what_is_left_at_its_deadline(stand: Stand) -> None:
    async with trading(stand) as trader:
        trader.place("STUCK1")
        await trader.until_kinds("STUCK1", "ACKED")
    stand.order("fault", kind="rest_5xx", on="/order", count=1_000)
    assert await alone(stand, cancel_all_timeout_s=1.0).cancel_all() == 1
    stand.order("fault", kind="rest_5xx", on=LISTING[stand.market], count=1_000)
    with pytest.raises(BrokerError, match="503"):
        await alone(stand, cancel_all_timeout_s=0.5).cancel_all()


@pytest.mark.parametrize("wrong", ["secret", "api key"])
async def test_refused_credentials_are_fatal_and_stay_secret(
    stand: Stand, tmp_path: Path, wrong: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = "wrongwrongwrong" + "x" * 20
    folder = tmp_path / "other"
    folder.mkdir()
    api_key, secret = (API_KEY, bad) if wrong == "secret" else (bad, SECRET)
    files = key_files(folder, secret, api_key)
    broker = alone(stand, api_key_file=files[0], secret_key_file=files[1])
    with pytest.raises(BrokerError) as caught:
        await broker.run()
    assert caught.value.action is Action.FATAL
    assert ("-1022" if wrong == "secret" else "-2015") in str(caught.value)
    assert caught.value.hint is not None
    with pytest.raises(BrokerError) as caught_asking:
        await broker.cancel_all()
    assert caught_asking.value.action is Action.FATAL
    out, err = capfd.readouterr()
    said = out + err + str(caught.value) + repr(broker.__dict__) + repr(caught_asking.value)
    for hidden in (bad, SECRET, API_KEY):
        assert hidden not in said


async def test_hedge_mode_is_fatal(tmp_path: Path) -> None:
    with standing("usdm", tmp_path) as stand:
        stand.order("set", is_hedged=True)
        with pytest.raises(BrokerError, match="one-way") as caught:
            await alone(stand).run()
        assert caught.value.action is Action.FATAL


@pytest.mark.parametrize("market", MARKETS)
async def test_ed25519_logs_on_once_and_signs_no_order(tmp_path: Path, market: Market) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with standing(market, tmp_path, secret=pem, public=public.decode()) as stand:
        async with trading(stand) as trader:
            trader.place("EDWARD")
            await trader.until_kinds("EDWARD", "ACKED", "ACKED")
            assert (await trader.broker.snapshot()).is_healthy


async def test_heartbeat_keeps_the_countdown_from_ending(tmp_path: Path) -> None:
    """Four beats within the countdown, a request per symbol each."""
    with standing("usdm", tmp_path) as stand:
        async with trading(stand, countdown_ms=5_000) as trader:
            assert stand.log()["countdown_calls"] == 2
            await trader.until(lambda: stand.log()["countdown_calls"] >= 4)


async def test_upkeep_renews_time_and_listen_key(tmp_path: Path) -> None:
    with standing("usdm", tmp_path) as stand:
        stand.order("fault", kind="rest_5xx", on="/listenKey", count=4)
        async with trading(stand, listen_key_renew_s=0.05, time_sync_s=0.05) as trader:
            taken = len(stand.log()["faults"])
            assert taken == 4  # two sessions' worth of tries, then it came up
            stand.order("fault", kind="rest_429", on="/listenKey")
            await trader.until(lambda: trader.count(ReportKind.LINE_DOWN) == 1)
            await trader.until(lambda: trader.count(ReportKind.LINE_UP) == 2)
