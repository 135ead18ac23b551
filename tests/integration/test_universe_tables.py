"""Figures for a universe out of our own hourly bars, on the embedded and on a real server."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from gateway.config import UniverseConfig
from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.schema.migrate import migrate
from recorder.schema.tables import store_instruments
from tests.integration.test_clickhouse_servers import INSERT, TRADE
from tickd.app.universe_sources import own_tables
from tickd.app.universes import SourceNotReadyError
from tickd.testing.clock import ManualClock

HOUR_NS = 3_600 * 10**9
NOW_NS = 1_723_118_400 * 10**9  # 2024-08-08 12:00
SYMBOLS = ("AAA", "BBB", "OTHER")


def definition(symbol: str) -> bytes:
    return msgspec.json.encode(
        {
            "venue": "okx" if symbol == "OTHER" else "binance-usdm",
            "symbol": symbol,
            "asset_class": "perpetual",
            "price_scale": 0,
            "size_scale": 0,
            "tick": 1,
            "lot": 1,
            "multiplier": "1",
        }
    )


def trades(node: int, instrument: int, hours_ago: int, prices: list[int]) -> np.ndarray[Any, Any]:
    """One lot each, a second apart."""
    block = np.zeros(len(prices), TRADE)
    numbers = np.arange(len(prices))
    block["node"], block["instrument"] = node, instrument
    block["seq"] = (instrument * 1_000 + hours_ago * 100 + numbers) << 16
    block["ts_recv"] = block["ts_event"] = NOW_NS - hours_ago * HOUR_NS + numbers * 10**9
    block["flags"], block["side"], block["fills"] = 0x80, 1, 1
    block["id"], block["price"], block["size"] = numbers, prices, 1
    return block


async def test_our_own_bars_compare_symbols_of_a_venue(clickhouse: Any) -> None:
    client = ClickHouse(ClickHouseConfig(), lambda: clickhouse.endpoint)
    try:
        await migrate(client)
        await store_instruments(
            client,
            node=1,
            definitions=[(number, definition(name)) for number, name in enumerate(SYMBOLS, 7)],
            valid_from_ns=NOW_NS - 100 * HOUR_NS,
        )
        for block in (
            trades(1, 7, 1, [100, 110, 121]),
            trades(1, 7, 2, [100, 100]),
            trades(2, 7, 1, [100]),  # another node saw less of the same
            trades(1, 7, 30, [1] * 50),  # long ago
            trades(1, 8, 1, [10, 10, 10, 10]),
            trades(1, 9, 1, [1] * 9),  # of another venue
        ):
            rows = [row.tobytes() for row in block]
            clickhouse.post(INSERT + "RowBinary", b"".join(rows))
        ready = False
        ask = own_tables(client, ManualClock(wall_ns=NOW_NS), ready=lambda: ready)
        config = UniverseConfig(name="x", venue="binance-usdm", count=1, source="clickhouse")
        with pytest.raises(SourceNotReadyError):
            await ask(config)
        ready = True
        found = {each.symbol: each for each in await ask(config)}
    finally:
        await client.close()
    assert found.keys() == {"AAA", "BBB"}
    assert (found["AAA"].volume_f, found["AAA"].trades) == (5.0, 5.0)
    assert found["AAA"].turnover_f == 331.0 + 200.0
    assert found["AAA"].volatility_f == pytest.approx(np.log(1.21) / 2)
    assert (found["BBB"].volume_f, found["BBB"].volatility_f) == (4.0, None)
