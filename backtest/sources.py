"""Where a replay's events come from: a capture of a venue's messages, or a raw log.

Both give the same parts: batches in order, the definitions before them. Sources decode; they host
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, final

import numpy as np
import orjson

from backtest.records import CLOCK_NS, clock_record, control_record, wire_record
from backtest.ticks import Ticks
from gateway.servers.captures import Capture, Line, merged, scan
from gateway.servers.rules import RULES
from gateway.venue import RestRequest
from gateway.venues import registry
from recorder.raw.records import Heads, heads_of
from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.indicators.indicator_set import IndicatorSet
from tickd.errors import ConfigError, TickdError
from tickd.native import Decoder, EventBatch, RawLogReader

__all__ = ["CaptureSource", "LogSource", "Part", "Source", "log_directory", "source_of"]

# Frames in a batch where nobody asks for another cut: about what a busy socket gives.
BURST_FRAMES: Final = 256
CONNECTION: Final = 1
_CONTROL: Final = frozenset(b"CK")
_CONTROL_RECORD: Final = ord("C")
_WIRE: Final = list(b"WB")


class Part(NamedTuple):
    """A batch, and the definitions that are new with it."""

    definitions: list[tuple[int, bytes]]
    batch: EventBatch
    # Of the numbers in the batch.
    topic_name: Callable[[int], str]


class Source(Protocol):
    """Events in order, once."""

    def parts(self) -> Iterator[Part]:
        """Yield everything. Raises TickdError."""
        ...


def _defines(payload: bytes) -> bool:
    return bool(orjson.loads(payload).get("kind") == "instrument")


def source_of(
    path: Path,
    burst_frames: int | None = None,
    cuts: Collection[int] = (),
    indicators: Sequence[IndicatorConfig] = (),
    computed_from: int = 0,
    *,
    ticks: bool = False,
) -> Source:
    """Return the source behind a path: a directory is a raw log, a file a capture.

    Args: `burst_frames`: frames per batch; None: a busy socket's, or a chunk of the log. `cuts`:
    frames of a log behind which a batch ends in any case. `indicators`: their signals follow the
    messages that cause them, from `computed_from` (a frame of `cuts`) on: a daemon's indicators
    begin empty with its start. `ticks`: a log has a clock also where none was recorded; not for
    runs that were live on it.
    Raises ConfigError: nothing there, not known.
    """
    if path.is_dir():
        return LogSource(
            path, burst_frames, cuts, _Decoding(indicators, computed_from), ticks=ticks
        )
    return CaptureSource(path, burst_frames or BURST_FRAMES, _Decoding(indicators))


def log_directory(path: Path) -> Path:
    """Return the raw log of a state directory, or what is one itself. Raises ConfigError."""
    directory = path / "raw" if (path / "raw").is_dir() else path
    if not (directory / "segments").is_dir():
        raise ConfigError(
            f"no raw log at {path}", hint="name a capture, a state directory or a raw log"
        )
    return directory


class _Decoding:
    """A decoder that tells which definitions are new, and computes indicators on the way."""

    def __init__(self, indicators: Sequence[IndicatorConfig] = (), computed_from: int = 0) -> None:
        self._decoder = Decoder()
        self._known: set[int] = set()
        self._computed_from = computed_from
        self._indicators = (
            IndicatorSet(
                indicators,
                topic_name=self._decoder.topic_name,
                intern_topic=self._decoder.intern_topic,
            )
            if indicators
            else None
        )

    def ticks(self) -> Ticks:
        return Ticks(self._decoder.intern_topic("clock.node.tick"))

    def part(
        self,
        records: bytes,
        *,
        defines: bool,
        ticks: Ticks | None = None,
        heads: Heads | None = None,
    ) -> Part:
        batch = self._decoder.decode(records)
        if ticks is not None and heads is not None:
            batch = ticks.joined(heads, batch)
        new = []
        if defines:
            every = self._decoder.instruments()
            new = [each for each in every if each[0] not in self._known]
            self._known.update(number for number, _ in new)
        if self._indicators is not None:
            for number, definition in new:
                self._indicators.define(number, definition)
            if batch.frame_last > self._computed_from:
                signals = self._indicators.signals(batch)
                batch = batch if signals is None else batch.joined(signals)
        return Part(new, batch, self._decoder.topic_name)


@final
class CaptureSource:
    """A capture behind the records that a daemon would have added: definitions, clock, one leg."""

    def __init__(self, path: Path, burst_frames: int, decoding: _Decoding) -> None:
        self._capture: Final[Capture] = scan(str(path))
        self._burst_frames = burst_frames
        self._decoding = decoding

    def parts(self) -> Iterator[Part]:
        decoding = self._decoding
        burst: list[bytes] = []
        first = True
        # What strategies find when they start does not depend on the cut: every definition.
        frames = max(self._burst_frames, len(self._capture.symbols) + 1)
        for record in self._records():
            burst.append(record)
            if len(burst) >= frames:
                yield decoding.part(b"".join(burst), defines=first)
                burst.clear()
                first, frames = False, self._burst_frames
        if burst:
            yield decoding.part(b"".join(burst), defines=first)

    def _records(self) -> Iterator[bytes]:
        lines = merged([self._capture])
        line = next(lines, None)
        if line is None:
            return
        frame_no = 0
        for fields in self._heads():
            frame_no += 1
            yield control_record(frame_no, line.recv_ns, fields)
        due_ns = line.recv_ns // CLOCK_NS * CLOCK_NS + CLOCK_NS
        while line is not None:
            while due_ns <= line.recv_ns:
                frame_no += 1
                yield clock_record(frame_no, due_ns)
                due_ns += CLOCK_NS
            frame_no += 1
            yield self._record(frame_no, line)
            line = next(lines, None)

    def _heads(self) -> Iterator[dict[str, object]]:
        """Definitions have the file's decimals: it holds no exchangeInfo."""
        market = self._capture.market
        for symbol, facts in self._capture.symbols.items():
            yield {
                "kind": "instrument",
                "venue": RULES[market].venue,
                "symbol": symbol,
                "asset_class": "spot" if market == "spot" else "perpetual",
                "price_scale": facts.price_scale,
                "size_scale": facts.size_scale,
                "tick": 1,
                "lot": 1,
                "multiplier": "1",
            }
        yield {
            "kind": "connect",
            "connection": CONNECTION,
            "venue": RULES[market].venue,
            "url": "",
            "streams": sorted(self._capture.streams),
        }

    def _record(self, frame_no: int, line: Line) -> bytes:
        if line.stream:
            return wire_record(frame_no, line.recv_ns, CONNECTION, "W", line.payload)
        sync = registry.find(RULES[line.market].venue).sync
        request = sync.resync(line.symbol, (), 0)
        assert isinstance(request, RestRequest)
        head = f"GET {request.target} 200\n".encode()
        return wire_record(frame_no, line.recv_ns, CONNECTION, "R", head + line.payload)


@final
class LogSource:
    """A raw log with everything that was recorded, clock and orders included."""

    def __init__(
        self,
        path: Path,
        burst_frames: int | None,
        cuts: Collection[int],
        decoding: _Decoding,
        *,
        ticks: bool = False,
    ) -> None:
        self._ticks = decoding.ticks() if ticks else None
        self._directory = log_directory(path)
        self._burst_frames = burst_frames
        self._decoding = decoding
        self._cuts = np.array(sorted(cuts), np.uint64)
        # Whether a frame of a venue has come.
        self._is_begun = False

    def parts(self) -> Iterator[Part]:
        decoding = self._decoding
        reader = RawLogReader(str(self._directory))
        for _, chunk in reader:
            heads = heads_of(chunk)
            start = 0
            for part in np.split(heads, self._borders(heads, chunk)):
                if not len(part):
                    continue
                end = int(part["payload_at"][-1] + part["payload_bytes"][-1]) + 1  # the line feed
                defines = not _CONTROL.isdisjoint(part["type"].tolist())
                records = chunk[start:end]
                yield decoding.part(records, defines=defines, ticks=self._ticks, heads=part)
                start = end
        if reader.damaged:
            raise TickdError(
                f"{len(reader.damaged)} damaged stretches in {self._directory}",
                hint="what is behind them cannot be replayed as it was; see tickd verify",
            )

    def _borders(self, heads: Heads, chunk: bytes) -> list[int]:
        """Where in a chunk batches end.

        Up to the first frame of a venue none ends by chance: what strategies find when they start
        must not depend on it. Behind it a definition begins a batch: nobody sees it earlier.
        """
        step = self._burst_frames or len(heads) or 1
        cuts = np.searchsorted(heads["frame_no"], self._cuts, side="right").tolist()
        wire = np.flatnonzero(np.isin(heads["type"], _WIRE))
        first = 0 if self._is_begun else int(wire[0]) if len(wire) else len(heads)
        self._is_begun = self._is_begun or len(wire) > 0
        ends = [at for at in range(step, len(heads), step) if at >= first]
        for at in np.flatnonzero(heads["type"] == _CONTROL_RECORD).tolist():
            start = int(heads["payload_at"][at])
            payload = chunk[start : start + int(heads["payload_bytes"][at])]
            if at > first and b'"instrument"' in payload and _defines(payload):
                ends.append(at)
        return sorted({*ends, *cuts})
