from collections.abc import Sequence
from typing import Any, Literal, TypedDict, final

from typing_extensions import Buffer

__version__: str
build_profile: str

class NativeError(Exception): ...

@final
class EventBatch:
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def topics(self) -> tuple[tuple[int, int, int], ...]: ...
    @property
    def seq_first(self) -> int: ...
    @property
    def seq_last(self) -> int: ...
    @property
    def frame_last(self) -> int: ...
    @property
    def ts_mono_ns(self) -> int: ...
    def slice(self, start: int, stop: int) -> EventBatch: ...

@final
class SimMarket:
    """One simulated Binance market; time is an argument."""

    def __init__(
        self,
        seed: int,
        symbols: int | list[str],
        rate: float,
        start_ns: int,
        *,
        market: Literal["spot", "usdm", "coinm"] = "usdm",
        mix: tuple[float, float, float] = (70.0, 23.0, 7.0),
        depth_levels: float = 8.0,
        zipf: float = 1.0,
        branching: float = 0.6,
        decay_per_s: float = 100.0,
        log: bool = False,
    ) -> None: ...
    def subscribe(self, connection: int, stream: str, combined: bool = True) -> bool: ...
    def unsubscribe(self, connection: int, stream: str) -> bool: ...
    def drop(self, connection: int) -> None: ...
    def knows(self, stream: str) -> bool: ...
    def advance(self, until_ns: int) -> int: ...
    def take(self, connection: int) -> bytes: ...
    def take_log(self) -> bytes: ...
    def pending_bytes(self, connection: int) -> int: ...
    def snapshot(self, symbol: str, limit: int) -> bytes | None: ...
    def exchange_info(self) -> bytes: ...
    def symbols(self) -> list[str]: ...
    def totals(self) -> dict[str, int]: ...
    def set_rate(self, rate: float) -> None: ...
    def inject(self, kind: str, stream: str, count: int = 1, argument: int = 0) -> int: ...
    def ledger(self) -> bytes: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def messages(self) -> int: ...

class RecoveryReport(TypedDict):
    segments: int
    records: int
    frame_last: int
    connection_last: int
    segments_sealed: int
    truncated_bytes: int
    quarantined: list[QuarantineEntry]
    gap: tuple[int, int] | None
    clean: bool
    manifest_torn_bytes: int
    manifest_damaged_lines: int
    checkpoint_refused: str | None

class QuarantineEntry(TypedDict):
    segment: str
    offset: int
    bytes: int
    reason: str
    frame_from: int
    frame_to: int
    file: str

class ChunkInfo(TypedDict):
    offset: int
    compressed_bytes: int
    raw_bytes: int
    records: int
    frame_first: int
    frame_last: int
    recv_first_ns: int
    recv_last_ns: int
    hash: str

class DamageInfo(TypedDict):
    offset: int
    bytes: int
    reason: str

class SegmentInfo(TypedDict):
    name: str
    bytes: int
    data_bytes: int
    header: dict[str, Any] | None
    sealed: bool
    clean: bool
    suspect: bool
    records: int
    frame_first: int
    frame_last: int
    recv_first_ns: int
    recv_last_ns: int
    hash: str
    chunks: list[ChunkInfo]

class SegmentVerdict(TypedDict):
    ok: bool
    name: str
    chunks: int
    records: int
    damaged: list[DamageInfo]
    index_ok: bool
    hash_ok: bool
    sealed: bool

class RawLogStats(TypedDict):
    frames: int
    bursts: int
    raw_bytes: int
    compressed_bytes: int
    chunks: int
    records: int
    segments: int
    fsyncs: int
    faults: int
    writer_cpu_ns: int
    unsynced_bytes: int
    segment: str | None

@final
class Histogram:
    def __init__(self) -> None: ...
    def record(self, ns: int, count: int = 1) -> None: ...
    def counts(self, bounds: Sequence[int]) -> list[int]: ...
    def quantile(self, q: float) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def sum(self) -> int: ...
    @property
    def max(self) -> int: ...

@final
class RawLog:
    def __init__(
        self,
        directory: str,
        *,
        node: int,
        group_bytes: int = 262144,
        group_ms: int = 250,
        fsync_ms: int = 500,
        segment_bytes_max: int = 536870912,
        segment_seconds: int = 3600,
        pending_bytes_max: int = 67108864,
        zstd_level: int = 1,
        meta: bytes = b"{}",
    ) -> None: ...
    @property
    def recovery(self) -> RecoveryReport: ...
    def restore_decoder(self, decoder: Decoder) -> int: ...
    def next_connection(self) -> int: ...
    def frame(self, connection: int, payload: Buffer) -> None: ...
    def frame_at(self, connection: int, payload: Buffer, recv_ns: int, mono_ns: int) -> None: ...
    def record(self, connection: int, record_type: str, payload: Buffer) -> int: ...
    def end_burst(self, decoder: Decoder) -> EventBatch | None: ...
    def write_now(self, *, sync: bool = False) -> None: ...
    @property
    def written(self) -> int: ...
    @property
    def synced(self) -> int: ...
    @property
    def pending_bytes(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def next_frame_no(self) -> int: ...
    @property
    def fault(self) -> str | None: ...
    @property
    def wake_fd(self) -> int: ...
    @property
    def write_latency(self) -> Histogram: ...
    @property
    def fsync_latency(self) -> Histogram: ...
    def stats(self) -> RawLogStats: ...
    def close(self, timeout_ms: int = 10000) -> None: ...

@final
class RawLogReader:
    def __init__(
        self,
        directory: str,
        from_frame: int = 0,
        to_frame: int | None = None,
        *,
        live: bool = True,
    ) -> None: ...
    def __iter__(self) -> RawLogReader: ...
    def __next__(self) -> tuple[str, bytes]: ...
    @property
    def damaged(self) -> list[tuple[str, int, int, str]]: ...

def manifest_read(directory: str) -> list[dict[str, Any]]: ...
def segment_info(path: str) -> SegmentInfo: ...
def verify_segment(path: str) -> SegmentVerdict: ...
