"""The ClickHouse that a config means, for commands that run beside or without the daemon."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.query import connect
from tickd.app.config import Config
from tickd.app.partial_config import TablesConfig


def clickhouse_of(config: Config | TablesConfig) -> AbstractAsyncContextManager[ClickHouse]:
    """A connection.

    The embedded server of a running daemon is shared, without one it is started for the block.
    """
    return connect(config.clickhouse, directory=config.state_dir / "clickhouse")
