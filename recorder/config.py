"""The recorder's configuration: where ClickHouse is, how big a block gets, how much may wait.

Plain values with units and the relations between them. It opens nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from recorder.clickhouse.settings import SettingValue, check_insert_settings, check_query_settings
from recorder.sink.cutting import CutLimits
from recorder.sink.retry import RetryPolicy
from tickd.secrets import Secret

__all__ = [
    "ClickHouseConfig",
    "DiskGuardConfig",
    "RawLogConfig",
    "RepairConfig",
    "SchemaConfig",
    "SinkConfig",
]

# Atomicity of an insert ends at ClickHouse's own block limits (max_insert_block_size 1 048 449
# rows, min_insert_block_size_bytes 256 MiB); a burst may exceed `rows_max` a little.
_ROWS_LIMIT = 500_000
_BYTES_LIMIT = 128 << 20

_PLAIN: Final = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
_REPLICA: Final = re.compile(r"[\w./{}-]{1,200}", re.ASCII)
_DAYS_MAX: Final = 36_500


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


class SchemaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How tickd's tables are made: engine, cluster, where old rows go."""

    engine: Literal["mergetree", "replicated"] = "mergetree"
    # Statements run ON CLUSTER; None: on each configured server by itself.
    cluster: str | None = None
    # Beside every table `<table>_all`, which reads all shards.
    distributed: bool = False
    replica_path: str = "/clickhouse/tables/{shard}/{database}/{table}"
    replica_name: str = "{replica}"
    storage_policy: str | None = None
    # None: whatever the tables have; 0: for ever.
    ttl_days: int | None = None
    cold_after_days: int | None = None
    cold_volume: str | None = None

    def __post_init__(self) -> None:
        if self.distributed and self.cluster is None:
            raise ValueError("schema.distributed needs schema.cluster")
        if self.engine == "replicated" and "{table}" not in self.replica_path:
            raise ValueError("schema.replica_path must hold {table}: each table needs its own")
        self._check_names()
        self._check_days()

    def _check_names(self) -> None:
        """They become part of statements."""
        for name in ("cluster", "storage_policy", "cold_volume"):
            value = getattr(self, name)
            if value is not None and not _PLAIN.fullmatch(value):
                raise ValueError(f"schema.{name} {value!r} is not a plain name")
        for name in ("replica_path", "replica_name"):
            if not _REPLICA.fullmatch(getattr(self, name)):
                raise ValueError(f"schema.{name} holds other than letters, digits, _ - . / {{ }}")

    def _check_days(self) -> None:
        if (self.cold_after_days is None) != (self.cold_volume is None):
            raise ValueError("schema.cold_after_days and schema.cold_volume belong together")
        if self.cold_after_days is not None and self.storage_policy is None:
            raise ValueError("schema.cold_volume is a volume of schema.storage_policy: name it")
        if self.ttl_days is not None and not 0 <= self.ttl_days <= _DAYS_MAX:
            raise ValueError(f"schema.ttl_days {self.ttl_days} is not in 0..{_DAYS_MAX}")
        if self.cold_after_days is not None and not 1 <= self.cold_after_days <= _DAYS_MAX:
            raise ValueError(f"schema.cold_after_days {self.cold_after_days} is not in 1..36500")
        if self.ttl_days and self.cold_after_days and self.ttl_days <= self.cold_after_days:
            raise ValueError("schema.ttl_days must be above schema.cold_after_days")


class ClickHouseConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which server takes the rows: `embedded`, or the URL of its HTTP interface, or several.

    Several URLs must lead to the same tables: replicas of one another, or ways to one server.
    """

    url: str | tuple[str, ...] = "embedded"
    # The servers of `url` replicate tables that tickd did not make (a managed service).
    replicas: bool = False
    database: str = "tickd"
    user: str = "default"
    user_secret: Secret | None = None
    password: Secret | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    format: Literal["native", "row_binary", "json"] = "native"
    # None on loopback and LAN; lz4 or zstd where the link is the limit; gzip with json.
    compression: Literal["none", "gzip", "lz4", "zstd"] = "none"
    connect_timeout_ms: int = 5_000
    insert_timeout_ms: int = 60_000
    query_timeout_ms: int = 30_000
    settings: dict[str, SettingValue] = {}
    query_settings: dict[str, SettingValue] = {}
    schema: SchemaConfig = SchemaConfig()

    @property
    def urls(self) -> tuple[str, ...]:
        """Every configured address, the preferred one first."""
        return (self.url,) if isinstance(self.url, str) else self.url

    def __post_init__(self) -> None:
        self._check_urls()
        if not self.database.isidentifier():
            raise ValueError(f"database {self.database!r} is not a plain name")
        if min(self.connect_timeout_ms, self.insert_timeout_ms, self.query_timeout_ms) <= 0:
            raise ValueError("timeouts must be above 0 ms")
        if self.compression == "gzip" and self.format != "json":
            raise ValueError('compression = "gzip" is for format = "json": lz4 and zstd are better')
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file belongs to cert_file")
        if self.user_secret is not None and self.user != "default":
            raise ValueError("user and user_secret both name a user")
        check_insert_settings(self.settings)
        check_query_settings(self.query_settings)

    def _check_urls(self) -> None:
        if not self.urls:
            raise ValueError("url is an empty list")
        for url in self.urls:
            if url == "embedded" and isinstance(self.url, str):
                continue
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"url {url!r} is neither 'embedded' nor an http(s) URL")
            if "@" in url:
                raise ValueError("url holds a user: write clickhouse.user and clickhouse.password")
            if "?" in url or "#" in url:
                raise ValueError(f"url {url!r} holds more than host, port and path")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("url names an address twice")
        if len(self.urls) > 1 and not self.replicas and self.schema.engine != "replicated":
            # A token that one server knows says nothing to another: rows would be stored on both.
            raise ValueError(
                "several servers in url must hold the same tables, or an insert of unknown outcome"
                ' is stored twice: set schema.engine = "replicated", or replicas = true when they'
                " replicate by themselves"
            )


class SinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a block is cut, what may wait for ClickHouse where, and how it is tried again."""

    rows_max: int = 100_000
    block_bytes_max: int = 12 << 20
    # A cut comes between these ages: early once the rate fills `rows_efficient` by then. Where the
    # upper one is the smaller it alone counts.
    age_ms_min: int = 200
    age_ms_max: int = 1_000
    rows_efficient: int = 20_000
    # Of the encoding thread, for one cut of all tables.
    cut_cpu_us_max: int = 2_000
    # Batches, open blocks and blocks together; above it the range is read from the raw log later.
    pending_bytes_max: int = 32 << 20
    # Live batches kept while a rebuild closes the last distance.
    held_bytes_max: int = 16 << 20
    # Further behind than this, a range is left to repair, so that the live events do not wait.
    close_up_frames_max: int = 1_000_000
    # On disk, for what memory does not hold: ready blocks. Beyond it their ranges are spilled.
    spool_bytes_max: int = 4 << 30
    # Spooled rows per second, over all tables, besides the live ones. 0: as fast as they go.
    redrive_rows_per_s: int = 0
    # Inserts at the same time, over all tables; a table has one at most.
    in_flight_max: int = 4
    # `written`: the raw log has handed the bytes to the kernel; `disk`: they are fsynced.
    durability: Literal["written", "disk"] = "written"
    backoff_ms_min: int = 100
    backoff_ms_max: int = 10_000
    # Failures in a row after which only one probe at a time is sent.
    circuit_failures_max: int = 3
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
        above_0 = (
            "age_ms_min",
            "age_ms_max",
            "rows_efficient",
            "cut_cpu_us_max",
            "held_bytes_max",
            "in_flight_max",
            "circuit_failures_max",
            "drain_timeout_ms",
        )
        at_least_0 = ("close_up_frames_max", "spool_bytes_max", "redrive_rows_per_s")
        for names, least in ((above_0, 1), (at_least_0, 0)):
            for name in names:
                if getattr(self, name) < least:
                    raise ValueError(f"{name} must be {least} or more")

    @property
    def retry(self) -> RetryPolicy:
        """Pauses between attempts."""
        return RetryPolicy(delay_ms_min=self.backoff_ms_min, delay_ms_max=self.backoff_ms_max)

    @property
    def cuts(self) -> CutLimits:
        """What the cut policy keeps to."""
        return CutLimits(
            rows_max=self.rows_max,
            bytes_max=self.block_bytes_max,
            age_ms_min=min(self.age_ms_min, self.age_ms_max),
            age_ms_max=self.age_ms_max,
            rows_efficient=self.rows_efficient,
            cut_cpu_us_max=self.cut_cpu_us_max,
        )


class DiskGuardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From how little free space on the daemon gives up what, so that the raw log goes on.

    A level begins when less than its share or less than its bytes is free, whichever is more.
    """

    enabled: bool = True
    interval_ms: int = 1_000
    low_share: float = 0.20
    low_bytes: int = 0
    tight_share: float = 0.10
    tight_bytes: int = 0
    critical_share: float = 0.05
    critical_bytes: int = 0
    # Never more than half of what `critical` takes. In bytes: the last writes are of fixed size.
    full_share: float = 0.0
    full_bytes: int = 32 << 20
    # A level is left when so much more is free than it takes to enter it, and so long after.
    hysteresis: float = 0.10
    hold_seconds: float = 10.0
    # Kept beside the raw log and freed when the disk is full; at most 5 % of the filesystem.
    ballast_bytes: int = 64 << 20
    # Channels to give up at `critical`: the heavy ones.
    shed_channels: tuple[str, ...] = ("depth",)

    def __post_init__(self) -> None:
        shares = (self.low_share, self.tight_share, self.critical_share, self.full_share)
        if not (1 > shares[0] >= shares[1] >= shares[2] >= shares[3] >= 0):
            raise ValueError(
                "low_share, tight_share, critical_share, full_share: below 1, each not above the"
                " one before"
            )
        sizes = (self.low_bytes, self.tight_bytes, self.critical_bytes)
        if not sizes[0] >= sizes[1] >= sizes[2] >= 0:
            raise ValueError(
                "low_bytes, tight_bytes, critical_bytes: each not above the one before"
            )
        if min(self.full_bytes, self.ballast_bytes) < 0:
            raise ValueError("full_bytes and ballast_bytes: 0 or more")
        if self.interval_ms < 10:
            raise ValueError("interval_ms must be 10 or more")
        if self.hysteresis < 0 or self.hold_seconds < 0:
            raise ValueError("hysteresis and hold_seconds: 0 or more")


class RepairConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How fast ClickHouse is made equal to the raw log again, beside live traffic."""

    # Rows compared or inserted per second; 0: as fast as it goes.
    rows_per_s: int = 200_000
    # Events of the raw log in one step; a step is in memory twice.
    step_events_max: int = 500_000
    # A delete that has not begun by then has no effect: the longest that a successor waits.
    delete_within_s: int = 60

    def __post_init__(self) -> None:
        if self.rows_per_s < 0:
            raise ValueError("rows_per_s must be 0 (unlimited) or more")
        if not 1_000 <= self.step_events_max <= 5_000_000:
            raise ValueError(f"step_events_max {self.step_events_max} is not in 1000..5000000")
        if not 1 <= self.delete_within_s <= 3_600:
            raise ValueError(f"delete_within_s {self.delete_within_s} is not in 1..3600")
