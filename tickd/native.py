"""The only importer of the native module.

Checks that it belongs to this version and re-exports its classes.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from tickd import _native
from tickd._native import (
    BLOCK_ENCODER_VERSION,
    EVENT_TABLES,
    VENUES,
    Block,
    BlockBuilder,
    BurstQueue,
    BusCore,
    BusHandler,
    Cut,
    Decoder,
    Dispatch,
    EventBatch,
    FeedReplay,
    FeedWriter,
    Histogram,
    L2Book,
    L3Book,
    LastValues,
    NativeError,
    OfflineManifest,
    Order,
    Quote,
    RawLog,
    RawLogReader,
    RingReader,
    RingWriter,
    Signal,
    SimMarket,
    SinkWorker,
    TopicLatency,
    TopicQueues,
    Trade,
    Value,
    Xxh3,
    manifest_read,
    record_heads,
    records_until,
    segment_info,
    suspect_segment,
    table_columns,
    verify_segment,
    xxh3_hex,
)
from tickd.errors import Action, TickdError

__all__ = [
    "BLOCK_ENCODER_VERSION",
    "BUILD_PROFILE",
    "EVENT_TABLES",
    "VENUES",
    "VERSION",
    "Block",
    "BlockBuilder",
    "BurstQueue",
    "BusCore",
    "BusHandler",
    "Cut",
    "Decoder",
    "Dispatch",
    "EventBatch",
    "FeedReplay",
    "FeedWriter",
    "Histogram",
    "L2Book",
    "L3Book",
    "LastValues",
    "NativeError",
    "OfflineManifest",
    "Order",
    "Quote",
    "RawLog",
    "RawLogReader",
    "RingReader",
    "RingWriter",
    "Signal",
    "SimMarket",
    "SinkWorker",
    "TopicLatency",
    "TopicQueues",
    "Trade",
    "Value",
    "Xxh3",
    "manifest_read",
    "record_heads",
    "records_until",
    "segment_info",
    "suspect_segment",
    "table_columns",
    "verify_segment",
    "xxh3_hex",
]

BUILD_PROFILE: Final[str] = _native.build_profile
VERSION: Final[str] = _native.__version__


def _check_version() -> None:
    try:
        expected = version("tickd")
    except PackageNotFoundError:  # a checkout on PYTHONPATH, not installed
        return
    if _native.__version__ != expected:
        raise TickdError(
            f"native module {_native.__version__} does not belong to tickd {expected}",
            action=Action.FATAL,
            hint="build it again: make setup",
        )


_check_version()
