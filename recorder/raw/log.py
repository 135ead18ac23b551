"""Opens the raw log as configured.

Its heart is native: `native/io/src/raw_log.rs`; the format is `docs/formats/raw-log.md`.
"""

from __future__ import annotations

import platform
from pathlib import Path

import orjson

from recorder.config import RawLogConfig
from recorder.errors import RawLogError
from tickd.native import VERSION, NativeError, RawLog

__all__ = ["open_raw_log"]


def open_raw_log(config: RawLogConfig, directory: Path, *, node: int) -> RawLog:
    """Recover what an earlier run left, lock the directory and start the writer thread.

    Blocks for as long as the recovery takes. Raises RawLogError(FATAL): another daemon holds the
    directory, it cannot be written, or its manifest is damaged where no crash can have damaged it.
    """
    meta = orjson.dumps({"version": VERSION, "host": platform.node()})
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return RawLog(
            str(directory),
            node=node,
            group_bytes=config.group_bytes,
            group_ms=config.group_ms,
            fsync_ms=config.fsync_ms,
            segment_bytes_max=config.segment_bytes_max,
            segment_seconds=config.segment_seconds,
            pending_bytes_max=config.pending_bytes_max,
            zstd_level=config.zstd_level,
            meta=meta,
        )
    except (OSError, NativeError) as error:
        raise RawLogError(
            f"the raw log at {directory} cannot be opened: {error.args[-1]}",
            hint="another daemon may be running, or the directory is not writable",
        ) from error
