"""The Binance broker over loopback against the stand-in process: orders, faults, line losses.

What the stand-in received is compared with what was sent: nothing goes out twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from risk.brokers.binance.config import Market
from risk.orders import ReportKind
from tests.harness.binance_stand import Stand, standing, trading, wanted

MARKETS: tuple[Market, ...] = ("spot", "usdm")


@pytest.fixture(params=MARKETS, scope="module")
def stand(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    folder: Path = tmp_path_factory.mktemp("stand")
    with standing(request.param, folder) as standing_in:
        yield standing_in


async def test_place_ack_partial_fill_cancel(stand: Stand) -> None:
    async with trading(stand) as trader:
        trader.place("AAA001")
        await trader.until_kinds("AAA001", "ACKED")
        venue_id = trader.of("AAA001")[0].venue_id
        await trader.control("fill", client_id="tickd-AAA001", size="0.25", price="9999.5")
        await trader.until_kinds("AAA001", "FILL")
        trader.broker.cancel(wanted("AAA001", venue_id))
        await trader.until_kinds("AAA001", "CANCELLED")
        (fill,) = [each for each in trader.of("AAA001") if each.kind is ReportKind.FILL]
        assert (fill.price, fill.size, fill.cum_size) == (9_999_50, 25_000, 25_000)
        assert fill.exec_id.startswith("BTCUSDT:")
        assert fill.fee == 99_995_000  # 0.25 * 9999.5 * 0.0004
        assert fill.fee_currency == "USDT"
        (end, *_) = [each for each in trader.of("AAA001") if each.kind is ReportKind.CANCELLED]
        assert end.cum_size == 25_000
        assert end.venue_id == venue_id
