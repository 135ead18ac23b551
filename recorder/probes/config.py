"""`[postgres]`: whether latency probes go to a PostgreSQL server, and to which.

Plain values with units. It opens nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from tickd.secrets import Secret

__all__ = ["PostgresConfig"]

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row per stage and interval. host: a name, an address, or the directory of its socket.

    schema: where the table is; it must exist. queue_rows_max: rows that wait while the server is
    away; beyond it the oldest are dropped and counted.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 5_432
    database: str = "tickd"
    user: str = "tickd"
    password: Secret | None = None
    schema: str = "public"
    ssl: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    interval_ms: int = 10_000
    queue_rows_max: int = 50_000
    timeout_ms: int = 5_000

    def __post_init__(self) -> None:
        for name in ("host", "database", "user"):
            if not getattr(self, name):
                raise ValueError(f"postgres.{name} is empty")
        if not _PLAIN.fullmatch(self.schema):
            raise ValueError(f"postgres.schema {self.schema!r} is not a plain lower-case name")
        if not 1 <= self.port <= 65_535:
            raise ValueError(f"postgres.port is {self.port}, 1 to 65535 possible")
        if not 100 <= self.interval_ms <= 3_600_000:
            raise ValueError("postgres.interval_ms: 100 to 3600000")
        if not 1 <= self.queue_rows_max <= 10_000_000:
            raise ValueError("postgres.queue_rows_max: 1 to 10000000")
        if not 1 <= self.timeout_ms <= 60_000:
            raise ValueError("postgres.timeout_ms: 1 to 60000")
