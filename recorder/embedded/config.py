"""Settings of the embedded ClickHouse: limits, memory and patience. It reads no file."""

from __future__ import annotations

import msgspec

__all__ = ["EmbeddedConfig"]


class EmbeddedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the supervisor tells the child. Bytes are bytes, `*_ms` are milliseconds."""

    port: int = 0
    """Loopback port; 0 lets the kernel pick, and a restart takes the same one again."""
    workers: int = 8
    """Statements that may run at once; more wait."""
    nice: int = 10
    """How far it stands behind the recorder and the strategies when cores are short, 0 to 19."""
    memory_bytes_max: int = 4 << 30
    """Limit of the whole engine; a query or insert above it gets code 241 and may be sent again."""
    query_memory_bytes_max: int = 2 << 30
    """Limit of one statement; larger sorts and aggregations spill to disk from half of it."""
    body_bytes_max: int = 1 << 30
    """A request body above this is refused with code 307."""
    ready_timeout_ms: int = 60_000
    """From spawn to the first answered ping, without the wait for another server's lock."""
    lock_timeout_ms: int = 60_000
    """How long a new server waits for an orphan that still finishes its last statement."""
    stop_timeout_ms: int = 20_000
    """How long an orderly stop may take before the child is killed (parts on disk are atomic)."""
    hang_timeout_ms: int = 60_000
    """Alive and without an answer for so long, the child is killed and started again."""
    backoff_ms_min: int = 100
    backoff_ms_max: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port {self.port} is not in 0..65535")
        if self.workers < 2:
            raise ValueError(f"workers {self.workers}: one insert and one query need 2")
        if not 0 <= self.nice <= 19:
            raise ValueError(f"nice {self.nice} is not in 0..19")
        if self.memory_bytes_max < 512 << 20:
            raise ValueError(f"memory_bytes_max {self.memory_bytes_max}: the engine needs 512 MiB")
        if self.query_memory_bytes_max > self.memory_bytes_max:
            raise ValueError("query_memory_bytes_max is above memory_bytes_max")
        if self.hang_timeout_ms <= 0:
            raise ValueError(f"hang_timeout_ms {self.hang_timeout_ms} is not above 0")
        if not 0 < self.backoff_ms_min <= self.backoff_ms_max:
            raise ValueError("backoff_ms_min must be above 0 and not above backoff_ms_max")
