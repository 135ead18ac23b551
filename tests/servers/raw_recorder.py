"""A raw log that is written without end, for faults of its disk.

Usage: raw_recorder.py DIRECTORY BOARD. Appends numbered messages, rotates often, stops appending
while the log is full, as sockets would. What it has done stands in BOARD, a file mapped into memory
(a fault of `write` must not touch it): see `tests/harness/sick_disk.py`. Closes the log on SIGTERM.
"""

from __future__ import annotations

import mmap
import signal
import struct
import sys
import time
from pathlib import Path

from tickd.native import Decoder, NativeError, RawLog

BOARD = struct.Struct("<8q")
BURST = 20
ROTATE_EVERY = 150  # bursts
PAUSE_S = 0.0005


def main(directory: Path, board_path: Path) -> None:
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    with board_path.open("r+b") as file:
        board = mmap.mmap(file.fileno(), BOARD.size)
    raw = RawLog(
        str(directory),
        node=1,
        group_bytes=16_384,
        group_ms=5,
        fsync_ms=20,
        pending_bytes_max=262_144,
    )
    decoder = Decoder()
    raw.restore_decoder(decoder)
    raw.end_burst(decoder)
    appended = bursts = pauses = 0

    def show(state: int) -> None:
        stats = raw.stats()
        values = (raw.written, stats["faults"], raw.fault_errno, pauses, stats["segments"], state)
        BOARD.pack_into(board, 0, appended, raw.synced, *values)

    while not stop:
        if raw.full:
            pauses += 1
            while raw.full and not stop:
                show(1)
                time.sleep(PAUSE_S)
            continue
        for _ in range(BURST):
            raw.frame(1, b"message %d" % appended + b"." * 60)
            appended += 1
        raw.end_burst(decoder)
        bursts += 1
        if bursts % ROTATE_EVERY == 0:
            raw.rotate()
        show(1)
        time.sleep(PAUSE_S)
    try:
        raw.close(5_000)
    except NativeError:
        show(3)
    else:
        show(2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
