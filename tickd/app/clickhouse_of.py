"""The ClickHouse that a config means, for commands that run beside or without the daemon."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from recorder.query import connect
from recorder.statements import Statements
from tickd.app.config import Config


def clickhouse_of(config: Config) -> AbstractAsyncContextManager[Statements]:
    """A connection.

    The embedded server of a running daemon is shared, without one it is started for the block.
    """
    return connect(
        config.clickhouse.url,
        directory=config.state_dir / "clickhouse",
        user=config.clickhouse.user,
        password=config.clickhouse.password,
    )
