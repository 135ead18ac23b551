"""The recorder's configuration: where ClickHouse is, how big a block gets, how much may wait.

Plain values with units and the relations between them. It opens nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tickd.secrets import Secret

__all__ = ["ClickHouseConfig", "SinkConfig"]

# Atomicity of an insert ends at ClickHouse's own block limits (max_insert_block_size 1 048 449
# rows, min_insert_block_size_bytes 256 MiB); a burst may exceed `rows_max` a little.
_ROWS_LIMIT = 500_000
_BYTES_LIMIT = 128 << 20


class ClickHouseConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which server takes the rows: `embedded`, or the URL of its HTTP interface."""

    url: str = "embedded"
    database: str = "tickd"
    user: str = "default"
    password: Secret | None = None
    # None on loopback and LAN; lz4 or zstd where the link is the limit.
    compression: Literal["none", "lz4", "zstd"] = "none"
    connect_timeout_ms: int = 5_000
    insert_timeout_ms: int = 60_000
    query_timeout_ms: int = 30_000

    def __post_init__(self) -> None:
        if self.url != "embedded" and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url {self.url!r} is neither 'embedded' nor an http(s) URL")
        if not self.database.isidentifier():
            raise ValueError(f"database {self.database!r} is not a plain name")
        if min(self.connect_timeout_ms, self.insert_timeout_ms, self.query_timeout_ms) <= 0:
            raise ValueError("timeouts must be above 0 ms")


class SinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a block is cut, and how much may wait for ClickHouse in memory."""

    rows_max: int = 100_000
    block_bytes_max: int = 16 << 20
    age_ms_max: int = 1_000
    # Encoded and queued together; above it the range is rebuilt from the raw log later.
    pending_bytes_max: int = 256 << 20
    # Live batches kept while a rebuild closes the last distance.
    held_bytes_max: int = 64 << 20
    # Inserts at the same time, over all tables; a table has one at most.
    in_flight_max: int = 4
    # `written`: the raw log has handed the bytes to the kernel; `disk`: they are fsynced.
    durability: Literal["written", "disk"] = "written"
    backoff_ms_min: int = 100
    backoff_ms_max: int = 10_000
    drain_timeout_ms: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.rows_max <= _ROWS_LIMIT:
            raise ValueError(f"rows_max {self.rows_max} is not in 1..{_ROWS_LIMIT}")
        if not 1 << 16 <= self.block_bytes_max <= _BYTES_LIMIT:
            raise ValueError(
                f"block_bytes_max {self.block_bytes_max} is not in 65536..{_BYTES_LIMIT}"
            )
        if self.pending_bytes_max < 2 * self.block_bytes_max:
            raise ValueError("pending_bytes_max must hold two blocks: 2 x block_bytes_max")
        if not 0 < self.backoff_ms_min <= self.backoff_ms_max:
            raise ValueError("backoff_ms_min must be above 0 and not above backoff_ms_max")
        if (
            min(self.age_ms_max, self.in_flight_max, self.held_bytes_max, self.drain_timeout_ms)
            <= 0
        ):
            raise ValueError("age_ms_max, in_flight_max, held_bytes_max, drain_timeout_ms: above 0")
