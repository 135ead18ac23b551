"""A real raw log filled with simple wire messages, for tests of what reads raw logs.

One venue (binance-usdm), a few symbols, trades, quotes and depth diffs with consecutive ids. It
opens the log and decodes live; it owns no event loop and waits nowhere but in `settle`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from select import select
from typing import Final, final

from tickd.native import Decoder, EventBatch, RawLog

__all__ = ["WireLog"]

_VENUE: Final = "binance-usdm"
_SYMBOLS: Final = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
_SETTLE_SECONDS_MAX: Final = 10.0  # a group is written within milliseconds


@final
class WireLog:
    """Write bursts with `burst`; every one comes back decoded, as in the daemon."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        group_ms: int = 250,
        group_bytes: int = 1 << 18,
        fsync_ms: int = 500,
        segment_bytes_max: int = 512 << 20,
    ) -> None:
        self._random = Random(seed)  # noqa: S311 - a test's dice
        self.decoder = Decoder()
        self.raw_log = RawLog(
            str(directory),
            node=1,
            group_ms=group_ms,
            group_bytes=group_bytes,
            fsync_ms=fsync_ms,
            segment_bytes_max=segment_bytes_max,
        )
        self.raw_log.restore_decoder(self.decoder)
        self.frame_recovered: int = self.raw_log.recovery["frame_last"]
        self._connection = self.raw_log.next_connection()
        self._opened = False
        # Ids go on where a predecessor's clock says: a new life has a gap, as in reality.
        self._id = self.raw_log.next_frame_no * 10

    def definitions(self) -> list[bytes]:
        return [definition for _, definition in self.decoder.instruments()]

    def burst(self, frames: int) -> EventBatch | None:
        """Append `frames` messages and return their events."""
        if not self._opened:
            self._open()
        for _ in range(frames):
            self.raw_log.frame(self._connection, self._message())
        return self.raw_log.end_burst(self.decoder)

    def settle(self) -> None:
        """Wait until all bursts are in the file.

        A segment ends behind the burst at which the *written* bytes passed its size. Called between
        bursts this makes the size alone decide; else a slow writer puts many bursts into one
        segment. Raises TimeoutError.
        """
        self.raw_log.write_now()
        while self.raw_log.written < self.raw_log.next_frame_no - 1:
            if not select([self.raw_log.wake_fd], [], [], _SETTLE_SECONDS_MAX)[0]:
                raise TimeoutError(f"written up to frame {self.raw_log.written} only")
            os.read(self.raw_log.wake_fd, 8)

    def close(self) -> None:
        self.raw_log.close()

    def _open(self) -> None:
        self._opened = True
        for number, symbol in enumerate(_SYMBOLS):
            definition = {
                "kind": "instrument",
                "venue": _VENUE,
                "symbol": symbol,
                "asset_class": "perpetual",
                "price_scale": 2 + number,
                "size_scale": 3,
                "tick": 1,
                "lot": 1,
                "multiplier": "1",
            }
            self.raw_log.record(0, "C", json.dumps(definition).encode())
        connect = {
            "kind": "connect",
            "connection": self._connection,
            "venue": _VENUE,
            "url": "ws://127.0.0.1/ws",
            "streams": [f"{symbol.lower()}@trade" for symbol in _SYMBOLS],
        }
        self.raw_log.record(self._connection, "C", json.dumps(connect).encode())

    def _message(self) -> bytes:
        random = self._random
        symbol = random.choice(_SYMBOLS)
        self._id += 1
        price, size = f"{random.randrange(1, 10**6)}.25", f"0.{random.randrange(1, 1000):03}"
        stamp = 1_795_219_199_000 + self._id % 1_000_000
        match random.randrange(10):
            case 0 | 1 | 2:
                data = (
                    f'{{"e":"trade","E":{stamp},"T":{stamp},"s":"{symbol}","t":{self._id},'
                    f'"p":"{price}","q":"{size}","X":"MARKET","m":true}}'
                )
                stream = "trade"
            case 3:
                data = (
                    f'{{"e":"depthUpdate","E":{stamp},"T":{stamp},"s":"{symbol}","U":{self._id},'
                    f'"u":{self._id},"pu":{self._id - 1},"b":[["{price}","{size}"]],"a":[]}}'
                )
                stream = "depth@100ms"
            case _:
                data = (
                    f'{{"e":"bookTicker","u":{self._id},"s":"{symbol}","b":"{price}","B":"{size}",'
                    f'"a":"{price}","A":"{size}","T":{stamp},"E":{stamp}}}'
                )
                stream = "bookTicker"
        return f'{{"stream":"{symbol.lower()}@{stream}","data":{data}}}'.encode()
