"""The statements of the migrations as a configuration wants them: cluster, replicas, disks.

The files in deploy/clickhouse say what the tables are, once, for one server; this turns a statement
into that of a cluster. Pure text: it runs nothing.
"""

from __future__ import annotations

import re
from typing import Final

from recorder.config import SchemaConfig
from tickd.native import DERIVED_TABLES, EVENT_TABLES

__all__ = ["adapted", "create_database"]

_HEAD: Final = re.compile(
    r"(CREATE (?:TABLE|DICTIONARY|MATERIALIZED VIEW|VIEW) IF NOT EXISTS|CREATE OR REPLACE VIEW"
    r"|ALTER TABLE) (\w+)\.(\w+)"
)
_ENGINE: Final = re.compile(r"ENGINE = (\w*MergeTree)\b")
_WINDOW: Final = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
# The window of replicated tables is one of time as well, and an hour by default: a repeat after a
# longer outage would be stored again. A week, as long as the default of older versions.
_WEEK: Final = (
    r"replicated_deduplication_window = \1, replicated_deduplication_window_seconds = 604800"
)
# What a person asks of all shards at once. The views' targets are read through their views.
_READ_EVERYWHERE: Final = re.compile(r"(?!ohlcv_\w+_mv$|instrument_names$)\w+")


def create_database(database: str, schema: SchemaConfig) -> str:
    """Return the statement that makes the database where it is missing."""
    return f"CREATE DATABASE IF NOT EXISTS {database}{_on_cluster(schema)}"


def adapted(statement: str, schema: SchemaConfig) -> list[str]:
    """Return what runs in place of one statement of a migration."""
    if schema == SchemaConfig():
        return [statement]
    head = _HEAD.match(statement)
    assert head is not None, statement[:80]
    verb, database, name = head.groups()
    rest = statement[head.end() :]
    if verb.startswith("CREATE TABLE"):
        rest = _table(rest, name, schema)
    own = f"{head[0]}{_on_cluster(schema)}{rest}"
    if not schema.distributed or not _READ_EVERYWHERE.fullmatch(name):
        return [own]
    # What was there already has the columns of before.
    anew = "IF NOT EXISTS" not in verb
    return [own, _distributed(database, name, schema, anew=anew)]


def _distributed(database: str, name: str, schema: SchemaConfig, *, anew: bool) -> str:
    """Return the table that reads `name` on every shard.

    It has no sharding key and so takes no inserts: a daemon's rows belong to its own shard.
    """
    create = "CREATE OR REPLACE TABLE" if anew else "CREATE TABLE IF NOT EXISTS"
    return (
        f"{create} {database}.{name}_all{_on_cluster(schema)} AS {database}.{name}"
        f" ENGINE = Distributed('{schema.cluster}', '{database}', '{name}')"
    )


def _table(rest: str, name: str, schema: SchemaConfig) -> str:
    if schema.engine == "replicated":
        assert len(_ENGINE.findall(rest)) == 1, name
        where = f"'{schema.replica_path}', '{schema.replica_name}'"
        rest = _ENGINE.sub(lambda match: f"ENGINE = Replicated{match[1]}({where})", rest)
        rest = _WINDOW.sub(_WEEK, rest)
    if schema.storage_policy is not None and name in (*EVENT_TABLES, *DERIVED_TABLES):
        # All event tables have settings; a policy that lacks the default disk must be there from
        # the start.
        rest = f"{rest}, storage_policy = '{schema.storage_policy}'"
    return rest


def _on_cluster(schema: SchemaConfig) -> str:
    return "" if schema.cluster is None else f" ON CLUSTER '{schema.cluster}'"
