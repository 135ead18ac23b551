"""The statements of a cluster: made from the files of one server, and nothing else changes."""

import re

import pytest

from recorder.config import SchemaConfig
from recorder.schema.ddl import adapted, create_database
from recorder.schema.migrate import ddl_directory, read_migrations
from recorder.schema.tiering import ttl_of
from recorder.trading.rows import TRADING_TABLES
from tickd.native import DERIVED_TABLES, EVENT_TABLES

TABLES = (*EVENT_TABLES, *DERIVED_TABLES)
PLACES = {"database": "d", "user": "u", "password": "p"}
RECV = "toDateTime(ts_recv)"
CLUSTER = SchemaConfig(engine="replicated", cluster="prod", distributed=True)


def shipped():
    return [
        statement
        for migration in read_migrations(ddl_directory())
        for statement in migration.statements(PLACES)
    ]


def test_one_server_gets_the_files_as_they_are():
    assert [adapted(statement, SchemaConfig()) for statement in shipped()] == [
        [statement] for statement in shipped()
    ]
    assert create_database("d", SchemaConfig()) == "CREATE DATABASE IF NOT EXISTS d"


def test_every_statement_of_a_cluster_runs_on_it_once():
    assert create_database("d", CLUSTER) == "CREATE DATABASE IF NOT EXISTS d ON CLUSTER 'prod'"
    for statement in shipped():
        for each in adapted(statement, CLUSTER):
            head, _, _ = each.partition("\n")
            assert head.count(" ON CLUSTER 'prod'") == each.count("ON CLUSTER") == 1
            assert re.match(r"(CREATE|ALTER) [A-Z ]+ d\.\w+ ON CLUSTER 'prod'", each)


def test_every_table_has_the_replicated_form_of_its_engine_and_a_week_of_tokens():
    tables = [s for s in shipped() if s.startswith("CREATE TABLE")]
    assert len(tables) == len(TABLES) + 7 + len(TRADING_TABLES)
    for statement in tables:
        own = adapted(statement, CLUSTER)[0]
        (engine,) = re.findall(r"ENGINE = (\w*MergeTree)", statement)
        where = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
        assert f"ENGINE = Replicated{engine}({where})" in own
        assert "non_replicated" not in own
        assert "replicated_deduplication_window = 10000" in own
        # The default is an hour in current versions.
        assert "replicated_deduplication_window_seconds = 604800" in own


def test_a_table_of_all_shards_stands_beside_everything_that_people_read():
    names = set()
    for statement in shipped():
        for each in adapted(statement, CLUSTER)[1:]:
            match = re.fullmatch(
                r"CREATE (?:TABLE IF NOT EXISTS|OR REPLACE TABLE) d\.(\w+)_all"
                r" ON CLUSTER 'prod' AS d\.\1 ENGINE = Distributed\('prod', 'd', '\1'\)",
                each,
            )
            assert match is not None, each
            names.add(match[1])
    wanted = {*TABLES, *(f"{table}_v" for table in TABLES)}
    wanted |= {f"{kind}_{size}" for kind in ("bars", "ohlcv") for size in ("1s", "1m", "1h")}
    wanted |= {"trades_once_v", "gaps_open_v"}
    wanted |= {*TRADING_TABLES.values(), "risk_decisions_v", "orders_v", "fills_v"}
    wanted |= {"near_misses", "account_positions"}
    assert names == wanted | {"instruments", "indicators", "segments", "topic_lag", "book_levels"}


def test_what_is_changed_later_is_changed_in_the_table_of_all_shards():
    for statement in (
        "ALTER TABLE d.gaps\n    MODIFY COLUMN x Int8",
        "CREATE OR REPLACE VIEW d.v AS",
    ):
        own, everywhere = adapted(statement, CLUSTER)
        assert own.replace(" ON CLUSTER 'prod'", "") == statement
        assert everywhere.startswith("CREATE OR REPLACE TABLE d.")


def test_paths_and_names_in_keeper_are_the_configured_ones():
    schema = SchemaConfig(
        engine="replicated", replica_path="/x/{database}/{table}", replica_name="{host}"
    )
    trades = next(s for s in shipped() if "d.trades\n" in s)
    assert "ReplicatedMergeTree('/x/{database}/{table}', '{host}')" in adapted(trades, schema)[0]
    assert "ON CLUSTER" not in adapted(trades, schema)[0]


def test_only_events_follow_the_storage_policy():
    schema = SchemaConfig(storage_policy="tiered")
    with_policy = {
        re.search(r"d\.(\w+)", each)[1]
        for statement in shipped()
        for each in adapted(statement, schema)
        if each.endswith(", storage_policy = 'tiered'")
    }
    assert with_policy == set(TABLES)


@pytest.mark.parametrize(
    ("schema", "ttl"),
    [
        (SchemaConfig(), None),
        (SchemaConfig(ttl_days=0), ""),
        (SchemaConfig(ttl_days=400), "toDateTime(ts_recv) + toIntervalDay(400)"),
        (
            SchemaConfig(ttl_days=400, storage_policy="p", cold_after_days=30, cold_volume="cold"),
            f"{RECV} + toIntervalDay(30) TO VOLUME 'cold', {RECV} + toIntervalDay(400)",
        ),
    ],
)
def test_the_ttl_says_what_moves_and_what_goes(schema, ttl):
    assert ttl_of(schema) == ttl
