"""The slow tables: exact times, repeats without effect."""

import time

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.schema.tables import store_instruments, store_segments, store_topic_lag
from tickd.native import manifest_read
from tickd.testing.wire_log import WireLog

pytestmark = pytest.mark.embedded


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


async def test_definitions_and_segments_of_a_raw_log_are_stored_once(client, tmp_path):
    log = WireLog(tmp_path, seed=1, segment_bytes_max=20_000, group_bytes=2_000)
    for _ in range(30):
        log.burst(20)
    definitions = log.decoder.instruments()
    log.close()
    manifest = manifest_read(str(tmp_path))
    for _ in range(2):
        await store_instruments(
            client, node=1, definitions=definitions, valid_from_ns=1_795_219_199_123_456_789
        )
        await store_segments(client, node=1, manifest=manifest)
    database = client.database
    rows = await client.query(
        f"SELECT instrument, toUnixTimestamp64Nano(valid_from) FROM {database}.instruments "
        "ORDER BY instrument"
    )
    assert rows == [(number, 1_795_219_199_123_456_789) for number, _ in definitions]
    sealed = [line for line in manifest if line["kind"] == "sealed"]
    rows = await client.query(
        f"SELECT segment, first_frame, toUnixTimestamp64Nano(first_recv), hash "
        f"FROM {database}.segments ORDER BY segment"
    )
    assert rows == [
        (line["segment"], line["frame_first"], line["recv_first"], line["hash"]) for line in sealed
    ]


async def test_lag_is_stored_with_its_time(client):
    now_ns = time.time_ns()  # ClickHouse drops samples after 30 days
    row = {"topic": "trade.sim.A", "depth": 1, "high_water": 2, "oldest_age_s": 0.5}
    rows = [row | {"dropped": 0, "events": 9}]
    await store_topic_lag(client, node=1, ts_ns=now_ns, rows=rows)
    found = await client.query(
        f"SELECT topic, toUnixTimestamp64Milli(ts), events FROM {client.database}.topic_lag"
    )
    assert found == [("trade.sim.A", now_ns // 1_000_000, 9)]


async def test_a_segments_state_follows_what_the_manifest_says_of_it(client, tmp_path):
    for seed in (1, 2):
        log = WireLog(tmp_path, seed=seed)
        log.burst(10)
        log.close()
    manifest = manifest_read(str(tmp_path))
    first, second = [line["segment"] for line in manifest if line["kind"] == "sealed"]
    query = f"SELECT segment, state FROM {client.database}.segments FINAL ORDER BY segment"
    await store_segments(client, node=1, manifest=manifest)
    assert await client.query(query) == [(first, "sealed"), (second, "sealed")]
    known = len(manifest)
    for kind in ("shipped", "verified", "removed"):
        manifest.append({"kind": kind, "file": f"segments/{first}"})
        manifest.append({"kind": kind, "file": "quarantine/other"})
    await store_segments(client, node=1, manifest=manifest, new_from=known)
    assert await client.query(query) == [(first, "removed"), (second, "sealed")]
    manifest.append({"kind": "restored", "file": f"segments/{first}"})
    await store_segments(client, node=1, manifest=manifest, new_from=len(manifest) - 1)
    assert await client.query(query) == [(first, "restored"), (second, "sealed")]
