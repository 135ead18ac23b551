"""The parts of a config file that commands without a daemon need, for people who may not read all.

A part has its own secrets and no others: who looks at gaps needs ClickHouse's password, and not the
broker's key. The rest of the file is not looked at; `tickd check` judges it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from recorder.config import ClickHouseConfig, SinkConfig
from tickd.app.config import NodeConfig
from tickd.config import load

__all__ = ["SpoolConfig", "TablesConfig", "load_spool", "load_tables"]


class TablesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the tables are, and whose rows."""

    node: NodeConfig = NodeConfig()
    clickhouse: ClickHouseConfig = ClickHouseConfig()

    @property
    def state_dir(self) -> Path:
        return Path(self.node.state_dir)


class SpoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where blocks wait, and by what rules. It has no secret."""

    node: NodeConfig = NodeConfig()
    sink: SinkConfig = SinkConfig()

    @property
    def state_dir(self) -> Path:
        return Path(self.node.state_dir)


def load_tables(path: Path) -> TablesConfig:
    """`load_config` of what leads to the tables. Raises ConfigError."""
    return load(path, TablesConfig, os.environ)


def load_spool(path: Path) -> SpoolConfig:
    """`load_config` of what leads to the spool. Raises ConfigError."""
    return load(path, SpoolConfig, os.environ)
