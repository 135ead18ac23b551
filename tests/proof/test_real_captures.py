"""The main job on real input: a capture served as its venue, recorded, verified, asked by SQL.

The truth is an independent reader of the file (tests/reference/capture.py).
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Daemon, server, tickd, write_config
from tests.reference.capture import Capture, Totals, read

pytestmark = [
    pytest.mark.proof,
    pytest.mark.captures,
    pytest.mark.embedded,
    pytest.mark.timeout(300),
]

RECORDINGS = {
    "usdm_btcusdt_20240808": ("binance-usdm", "BTCUSDT", 0),
    "spot_btcusdt_20240808": ("binance-spot", "BTCUSDT", 100),
    "cm_btcusd_perp_20240808": ("binance-coinm", "BTCUSD_PERP", 0),
}
SUMS = {
    "trades": "sum(toInt128(price)), sum(toInt128(size)), min(id), max(id)",
    "quotes": (
        "sum(toInt128(bid_price) + ask_price), sum(toInt128(bid_size) + ask_size), min(id), max(id)"
    ),
    "book": (
        "sum(arraySum(x -> toInt128(x), bid_price) + arraySum(x -> toInt128(x), ask_price)), "
        "sum(arraySum(x -> toInt128(x), bid_size) + arraySum(x -> toInt128(x), ask_size)), "
        "min(last_id), max(last_id)"
    ),
}


def query(config: Path, sql: str) -> list[dict[str, Any]]:
    result = tickd("query", "--config", str(config), "--format", "json", sql, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def from_sql(config: Path, table: str, where: str = "1") -> Totals:
    """Totals as ClickHouse has them, in natural numbers."""
    sql = (
        f"SELECT count() AS n, tuple({SUMS[table]}) AS s, "
        "any(price_scale) AS ps, any(size_scale) AS ss "
        f"FROM {table} WHERE {where} SETTINGS output_format_json_quote_64bit_integers = 1"
    )
    (row,) = query(config, sql)
    price, size, low, high = (int(value) for value in row["s"])
    return Totals(
        rows=int(row["n"]),
        price=Decimal(price).scaleb(-int(row["ps"])),
        size=Decimal(size).scaleb(-int(row["ss"])),
        id_min=low,
        id_max=high,
    )


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_clickhouse_holds_exactly_what_the_capture_says(
    name: str, captures: Path, tmp_path: Path
) -> None:
    truth: Capture = read(captures / "wire" / "binance" / f"{name}.gz")
    venue, symbol, interval = RECORDINGS[name]
    file = captures / "wire" / "binance" / f"{name}.gz"
    with server("serve-replay", str(file), "--speed", "max", log=tmp_path / "replay.log") as replay:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=tmp_path / "state",
            venues=[
                {
                    "name": venue,
                    "symbols": [symbol],
                    "channels": ["trade", "quote", "depth"],
                    "depth_interval_ms": interval,
                    "ws_url": replay["ws"][venue],
                    "rest_url": replay["rest"][venue],
                }
            ],
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_until_quiet(frames_min=truth.messages, timeout=120)
            assert daemon.stop() == 0, daemon.tail()
    verified = tickd("verify", str(config))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert from_sql(config, "trades") == truth.trades
    assert from_sql(config, "quotes") == truth.quotes
    assert from_sql(config, "book", "bitAnd(flags, 32) = 0") == truth.depth
    assert query(config, "SELECT count() AS n FROM gaps")[0]["n"] in (0, "0")
    synced = query(config, "SELECT countIf(kind = 'book' AND state = 2) AS n FROM states")
    assert int(synced[0]["n"]) >= 1
