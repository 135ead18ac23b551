"""Gaps and their fills through the whole daemon: a simulated venue that loses messages on order.

Method: the venue's own memory of its trades is the truth. What ClickHouse holds afterwards, live
and fetched together, must be every trade id once; and the table of gaps must say so.
"""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.harness.processes import Daemon, query, server, tickd, write_config

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(240),
]

VENUE = "binance-usdm"
# First and last price of each second by the numbers that the venue gave to its trades.
ENDS = (
    "SELECT instrument, toUnixTimestamp(toDateTime(ts_event)) AS at, argMin(price, id) AS first,"
    " argMax(price, id) AS last FROM trades GROUP BY instrument, at ORDER BY instrument, at"
)


def stored_when(config: Path, condition: str, table: str, *, timeout: float = 60) -> None:
    """Poll ClickHouse until a condition on a table is true."""
    deadline = time.monotonic() + timeout
    while not int(query(config, f"SELECT {condition} AS met FROM {table}")[0]["met"]):
        assert time.monotonic() < deadline, condition
        time.sleep(0.2)


def test_trades_that_the_stream_lost_are_fetched_by_id_and_are_rows_once(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-key-of-tests")
    key.chmod(0o600)
    market = ("--rate", "2000", "--symbols", "2", "--seconds", "14", "--seed", "3")
    faults = (
        "--fault",
        "gap@t=6,symbol=BTCUSDT,channel=trade,count=700",
        "--fault",
        "gap@t=9,symbol=ETHUSDT,channel=trade,count=5",
        "--remembered-trades",
        "100000",
    )
    with server("sim", *market, *faults, log=tmp_path / "sim.log") as sim:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=tmp_path / "state",
            venues=[
                {
                    "name": VENUE,
                    "symbols": sim["symbols"][VENUE],
                    "channels": ["trade"],
                    "ws_url": sim["ws"][VENUE],
                    "rest_url": sim["rest"][VENUE],
                    "fill": {"api_key": {"file": str(key)}, "settle_seconds": 0.5},
                }
            ],
            sections={"sink": {"age_ms_max": 100}},
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_until_quiet(frames_min=1_000)
            stored_when(config, "countIf(bitTest(flags, 10)) = 2", "gaps")
            answer = json.loads(tickd("gaps", "list", str(config), "--json", check=True).stdout)
            assert answer["open"] == 0
            # Bars as the fetched trades want them, long before their hour is over.
            stored_when(config, "sum(trades) = (SELECT count() FROM trades)", "ohlcv_1s")
            stored_when(config, "sum(trades) = (SELECT count() FROM trades)", "ohlcv_1h")
            rows = query(
                config,
                "SELECT symbol, count() AS rows, uniqExact(id) AS ids, min(id) AS first,"
                " max(id) AS last, countIf(bitTest(flags, 10)) AS fetched"
                " FROM trades GROUP BY symbol ORDER BY symbol",
            )
            gaps = query(
                config,
                "SELECT symbol, bitTest(flags, 10) AS closed, from_id, to_id, missing"
                " FROM gaps WHERE channel = 0 ORDER BY symbol, closed",
            )
            ends = query(config, ENDS)
            bars = query(
                config,
                "SELECT instrument, toUnixTimestamp(second) AS at, argMinMerge(open) AS first,"
                " argMaxMerge(close) AS last FROM ohlcv_1s GROUP BY instrument, at"
                " ORDER BY instrument, at",
            )
            once = query(config, "SELECT count() AS rows FROM trades_once_v")
            still_open = query(config, "SELECT count() AS gaps FROM gaps_open_v")
            assert tickd("verify", str(config)).returncode == 0
            assert daemon.stop() == 0
    assert bars == ends
    assert int(once[0]["rows"]) == sum(int(row["rows"]) for row in rows)
    assert int(still_open[0]["gaps"]) == 0
    for row in rows:
        assert int(row["rows"]) == int(row["ids"])
        assert int(row["ids"]) == int(row["last"]) - int(row["first"]) + 1
    assert sum(int(row["fetched"]) for row in rows) == 705
    opened = [each for each in gaps if not each["closed"]]
    closed = [each for each in gaps if each["closed"]]
    assert [(g["from_id"], g["to_id"]) for g in opened] == [
        (g["from_id"], g["to_id"]) for g in closed
    ]
    assert [int(each["missing"]) for each in opened] == [700, 5]
    assert {int(each["missing"]) for each in closed} == {0}
    assert tickd("verify", str(config)).returncode == 0
