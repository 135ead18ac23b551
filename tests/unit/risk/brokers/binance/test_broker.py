"""The broker as the registry makes it, and what it does without a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from risk.approval import ApprovedOrder
from risk.brokers.binance.broker import BROKER
from risk.brokers.binance.config import BinanceConfig
from risk.brokers.port import BrokerContext, Traded
from risk.errors import NotSentError
from risk.orders import Report
from tests.harness.binance_stand import approved, key_files, request, wanted
from tickd.errors import ConfigError
from tickd.testing.clock import ManualClock


class Nowhere:
    """A market that nobody watches."""

    def on_batch(self, take: object) -> None:
        raise AssertionError("a real venue is not played")

    def on_definition(self, define: object) -> None:
        raise AssertionError("a real venue is not played")


def section(folder: Path, market: str = "usdm") -> BinanceConfig:
    api_key_file, secret_key_file = key_files(folder)
    return BinanceConfig(
        name="a",
        market=market,  # type: ignore[arg-type]
        symbols=("BTCUSDT", "ETHUSDT"),
        api_key_file=api_key_file,
        secret_key_file=secret_key_file,
    )


def context(reports: list[Report]) -> BrokerContext:
    def confirm(order: ApprovedOrder) -> bool:
        raise AssertionError(f"asked for {order}: it writes in the router's own step")

    known = {"BTCUSDT": Traded(7, "BTCUSDT", 2, 5, "1")}
    return BrokerContext(
        clock=ManualClock(),
        on_report=reports.append,
        confirm=confirm,
        instrument=known.get,
        market=Nowhere(),
        held=lambda: (),
        is_halted=lambda: False,
    )


def test_account_names_its_venue(tmp_path: Path) -> None:
    assert BROKER.venue(section(tmp_path, "spot")) == "binance-spot"
    assert BROKER.venue(section(tmp_path, "usdm")) == "binance-usdm"


def test_nothing_leaves_before_there_is_a_session(tmp_path: Path) -> None:
    reports: list[Report] = []
    broker = BROKER.make(section(tmp_path), context(reports))
    assert not broker.is_up
    with pytest.raises(NotSentError, match="down"):
        broker.send(approved(request()), "REF001")
    with pytest.raises(NotSentError, match="down"):
        broker.cancel(wanted("REF001"))
    with pytest.raises(NotSentError, match="down"):
        broker.replace(wanted("REF001", "BTCUSDT:7"), price=1, size=1)
    assert not reports


def test_instrument_without_a_definition_does_not_leave(tmp_path: Path) -> None:
    broker = BROKER.make(section(tmp_path), context([]))
    with pytest.raises(NotSentError, match="scales"):
        broker.send(approved(request(symbol="ETHUSDT")), "REF001")
    with pytest.raises(NotSentError, match="symbols"):
        broker.send(approved(request(symbol="DOGEUSDT")), "REF001")


def test_credentials_are_read_when_it_is_made(tmp_path: Path) -> None:
    given = section(tmp_path)
    Path(given.secret_key_file).unlink()
    with pytest.raises(ConfigError):
        BROKER.make(given, context([]))
