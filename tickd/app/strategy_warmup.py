"""How a strategy process gets to know the market before it goes live: its image, then the raw log.

A `Warmup` brings a host up to a number in as many steps as it is asked to; whatever cannot be had
leaves the host colder, and `notes` says why. It calls no strategy and talks to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, final

from recorder.raw.records import heads_of
from recorder.raw.segments import first_frame, segment_paths
from strategy_runner.errors import StrategyError
from strategy_runner.image import pieces
from strategy_runner.runner import StrategyHost
from tickd.app.strategy_wire import Warmth
from tickd.errors import TickdError
from tickd.events import SEQ_INDEX_BITS, SEQ_INDEX_MAX
from tickd.native import Decoder, NativeError, RawLogReader
from tickd.ports import Clock

__all__ = ["Warmup"]

# Of the machine, for all steps together: a full segment of 512 MiB takes 12 s (ADR 30). The daemon
# gives a process 75 s to start.
READ_S_MAX: Final = 30.0
# The daemon has asked for the frames to be written; a disk that takes longer leaves us colder.
WRITTEN_S_MAX: Final = 2.0
POLL_S: Final = 0.005
POLL_S_MAX: Final = 0.25
_BEGAN: Final = re.compile(r"-(\d{8}T\d{6})")


@final
class Warmup:
    """From an image and a raw log to a host that knows what came before."""

    def __init__(
        self,
        make_host: Callable[[], StrategyHost],
        *,
        raw_log: Path,
        image: Path,
        seconds: int,
        clock: Clock,
        wait: Callable[[float], None],
    ) -> None:
        """Args.

        `make_host`: a host with the definitions so far, which was fed nothing. `wait`: seconds, for
        frames that are on their way into the log.
        """
        self._make_host = make_host
        self._raw_log = raw_log
        self._image = image
        self._seconds = seconds
        self._clock = clock
        self._wait = wait
        self._notes: list[str] = []
        self._events = 0
        self._took_ns = 0
        # Made by the first step.
        self._host: StrategyHost | None = None
        self._from_image = False
        self._decoder = Decoder()
        # The last frame that was decoded, and the last one that an image holds.
        self._frame = 0
        self._frame_held = 0
        # Where the next look at the log goes on.
        self._position: tuple[str, int, int, int] | None = None
        # Nothing more is read: it would take too long, or cannot be.
        self._is_over = False
        # Something between the image and now was not seen.
        self._has_hole = False

    def define(self, instrument: int, definition: bytes) -> None:
        if self._host is not None:
            self._host.define(instrument, definition)

    def advance(self, seq: int) -> int:
        """Warm what the log has up to `seq`; return how long this step took, ns."""
        began_ns = self._clock.mono_ns()
        try:
            if self._host is None:
                self._begin(seq)
            if self._host is not None and not self._is_over:
                self._read(seq >> SEQ_INDEX_BITS)
        except (OSError, NativeError, TickdError, ValueError) as error:
            self._stop_reading(f"the raw log cannot be read: {error}")
        took_ns = self._clock.mono_ns() - began_ns
        self._took_ns += took_ns
        return took_ns

    def finish(self, seq: int) -> tuple[bytes, list[str], Warmth]:
        """Warm up to exactly `seq`, which the log will have soon.

        Return the image that strategies begin with, its pieces for the record, and what to say.
        """
        took_ns = self.advance(seq)
        until_ns = self._clock.mono_ns() + round(WRITTEN_S_MAX * 1e9)
        while not self._is_over and self._frame < seq >> SEQ_INDEX_BITS:
            if self._clock.mono_ns() > until_ns:
                if self._host is not None:
                    self._stop_reading("the newest frames are not in the raw log")
                break
            # A look takes at least a walk through the directory.
            self._wait(min(max(POLL_S, took_ns / 1e9), POLL_S_MAX))
            took_ns = self.advance(seq)
        return self._begun(seq)

    def _begun(self, seq: int) -> tuple[bytes, list[str], Warmth]:
        host = self._host
        if host is None:
            self._notes.append("there is no raw log")
            host = self._fresh(seq)
        if self._has_hole:
            host.known_from = seq
        image, recorded = b"", None
        # A book that lacks a change looks like one that does not: after a hole none is kept.
        for books in (False,) if self._has_hole else (True, False):
            try:
                image = host.image(seq, books=books)
                recorded = pieces(image)
                break
            except StrategyError as error:
                self._notes.append(str(error))
        if recorded is None:
            host = self._fresh(seq)
            image = host.image(seq)
            recorded = pieces(image)
        return (
            image,
            recorded,
            Warmth(
                known_from=host.known_from,
                to=seq,
                from_image=self._from_image,
                events=self._events,
                took_ms=self._took_ns // 1_000_000,
                notes=tuple(self._notes),
            ),
        )

    def _begin(self, seq: int) -> None:
        """Find where to begin; take the image if the log goes on behind it."""
        segments = self._segments()
        if not segments:
            return  # not yet
        self._host = self._make_host()
        held = self._restored(self._host, seq)
        starts = [first_frame(path) for path in segments]
        if held is not None:
            older = [start for start in starts if start <= (held >> SEQ_INDEX_BITS) + 1]
            if older:
                self._from_image = True
                self._frame = older[-1] - 1
                self._frame_held = held >> SEQ_INDEX_BITS
                return
            self._notes.append("the image is older than what is read of the raw log")
        self._host = self._fresh(min(starts[0] << SEQ_INDEX_BITS, seq))
        self._frame = starts[0] - 1

    def _restored(self, host: StrategyHost, seq: int) -> int | None:
        """The number of the image, if it can be used."""
        try:
            content = self._image.read_bytes()
            held = host.restore(content)
        except FileNotFoundError:
            self._notes.append("no image was kept: the raw log alone")
            return None
        except (OSError, StrategyError) as error:
            self._notes.append(f"{self._image.name}: {error}")
            return None
        if held > seq | SEQ_INDEX_MAX:
            self._notes.append(f"the image is newer than the raw log, {held} and {seq}")
            return None
        return held

    def _segments(self) -> list[Path]:
        """The newest segments, back to the one that began before the bound."""
        since = self._clock.wall_ns() // 1_000_000_000 - self._seconds
        segments = segment_paths(self._raw_log)
        for number in range(len(segments) - 1, -1, -1):
            found = _BEGAN.search(segments[number].name)
            if found is None or _seconds(found[1]) <= since:
                return segments[number:]
        return segments

    def _read(self, frame_to: int) -> None:
        """Decode what is behind the last frame, up to `frame_to`."""
        until_ns = self._clock.mono_ns() + round(READ_S_MAX * 1e9) - self._took_ns
        reader = RawLogReader(str(self._raw_log), self._frame + 1, position=self._position)
        for _, chunk in reader:
            self._position = reader.position
            if self._take(chunk, frame_to):
                break
            if self._clock.mono_ns() > until_ns:
                self._stop_reading(f"reading takes longer than {READ_S_MAX:g} s")
                break
        if reader.damaged and not self._has_hole:
            self._has_hole = True
            self._notes.append(f"{len(reader.damaged)} damaged stretches in the raw log")

    def _take(self, chunk: bytes, frame_to: int) -> bool:
        """Decode the new records of a chunk; whether nothing up to `frame_to` comes behind it.

        What the image holds is decoded, too, but is no news.
        """
        assert self._host is not None
        heads = heads_of(chunk)
        frames = heads["frame_no"]
        ends = [0, *(heads["payload_at"] + heads["payload_bytes"] + 1).tolist()]  # a line feed
        last = int(frames[-1])

        def behind(frame_no: int) -> int:
            return int(ends[int(frames.searchsorted(frame_no, side="right"))])

        start, stop = behind(self._frame), behind(frame_to)
        held = min(max(start, behind(self._frame_held)), stop)
        if held > start:
            self._decoder.decode(chunk[start:held])
        if stop > held:
            batch = self._decoder.decode(chunk[held:stop])
            self._events += len(batch)
            self._host.warm(batch)
        # A record may have several numbers, of which the first one stands there.
        self._frame = max(self._frame, min(frame_to, last))
        return last >= frame_to

    def _fresh(self, known_from: int) -> StrategyHost:
        host = self._make_host()
        host.known_from = known_from
        return host

    def _stop_reading(self, why: str) -> None:
        self._notes.append(why)
        self._is_over = True
        self._has_hole = True


def _seconds(moment: str) -> float:
    return datetime.strptime(f"{moment}Z", "%Y%m%dT%H%M%S%z").timestamp()
