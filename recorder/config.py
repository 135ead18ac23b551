"""The recorder's configuration: where ClickHouse is, how big a block gets, how much may wait.

Plain values with units and the relations between them. It opens nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tickd.secrets import Secret

__all__ = ["ClickHouseConfig", "RawLogConfig", "SinkConfig"]

# Atomicity of an insert ends at ClickHouse's own block limits (max_insert_block_size 1 048 449
# rows, min_insert_block_size_bytes 256 MiB); a burst may exceed `rows_max` a little.
_ROWS_LIMIT = 500_000
_BYTES_LIMIT = 128 << 20


class RawLogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a crash may cost, and how big a file gets.

    `kill -9` loses at most one group (`group_ms` or `group_bytes`), a power cut at most `fsync_ms`.
    """

    group_bytes: int = 256 << 10
    group_ms: int = 250
    fsync_ms: int = 500
    segment_bytes_max: int = 512 << 20
    segment_seconds: int = 3_600
    # Not yet written; from half of it on the sockets are not read.
    pending_bytes_max: int = 64 << 20
    zstd_level: int = 1

    def __post_init__(self) -> None:
        if not 1 << 10 <= self.group_bytes <= 16 << 20:
            raise ValueError(f"group_bytes {self.group_bytes} is not in 1024..16777216")
        if min(self.group_ms, self.fsync_ms, self.segment_seconds) <= 0:
            raise ValueError("group_ms, fsync_ms, segment_seconds: above 0")
        if self.segment_bytes_max < 1 << 20:
            raise ValueError("segment_bytes_max must be 1 MiB or more")
        if self.pending_bytes_max < 4 * self.group_bytes:
            raise ValueError("pending_bytes_max must hold four groups: 4 x group_bytes")
        if not 1 <= self.zstd_level <= 19:
            raise ValueError(f"zstd_level {self.zstd_level} is not in 1..19")


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
        if "@" in self.url:
            raise ValueError("url holds a user: write clickhouse.user and clickhouse.password")
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
