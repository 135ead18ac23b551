"""Two live runs over the same capture give the same events.

Masked: when a frame was read (`ts_recv`, and with it the flag SKEW) and its number (`seq`). Not
compared event by event: the answers to snapshot requests and what follows from the moment of an
answer (when the book joined). The book itself is compared, at every message from the later join on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.harness.processes import Daemon, server, write_config
from tests.harness.recording import Recording, recording_of
from tickd.events import BookState, Flag, Kind
from tickd.native import EventBatch, L2Book

pytestmark = [
    pytest.mark.proof,
    pytest.mark.captures,
    pytest.mark.embedded,
    pytest.mark.timeout(180),
]

RECORDINGS = {
    "usdm_btcusdt_20240808": ("binance-usdm", "BTCUSDT", 0),
    "spot_btcusdt_20240808": ("binance-spot", "BTCUSDT", 100),
    "cm_btcusd_perp_20240808": ("binance-coinm", "BTCUSD_PERP", 0),
}
Levels = tuple[list[tuple[int, int]], list[tuple[int, int]]]
CHANNELS = ["trade", "quote", "depth"]
FRAMES_MIN = 5_000


def record(file: Path, venue: str, symbol: str, interval_ms: int, folder: Path) -> Recording:
    """A live run of its own: server, daemon, raw log."""
    folder.mkdir()
    with server("serve-replay", str(file), "--speed", "max", log=folder / "replay.log") as replay:
        table: dict[str, object] = {
            "name": venue,
            "symbols": [symbol],
            "channels": CHANNELS,
            "depth_interval_ms": interval_ms,
            "ws_url": replay["ws"][venue],
            "rest_url": replay["rest"][venue],
        }
        config = write_config(folder / "tickd.toml", state_dir=folder / "state", venues=[table])
        with Daemon(config, folder / "daemon.log") as daemon:
            daemon.wait_until_quiet(frames_min=FRAMES_MIN, timeout=60)
            assert daemon.stop() == 0, daemon.tail()
    return recording_of(folder / "state")


def masked(recording: Recording, channel: str, symbol: str) -> np.ndarray:
    """The events of the stream's own messages, without what a run may choose."""
    events = recording.events(channel, symbol)
    events = events[events["flags"] & Flag.SNAPSHOT == 0].copy()
    events["ts_recv"] = 0
    events["seq"] = 0
    events["flags"] &= ~np.uint16(Flag.SKEW)
    return events


def books(recording: Recording, venue: str, symbol: str) -> dict[int, Levels]:
    """Last update id → ten levels of both sides, while the book was live."""
    events = recording.events("depth", symbol)
    starts = np.flatnonzero(events["kind"] == Kind.DEPTH_HEAD)
    book = L2Book(venue, int(events["instrument"][0]))
    found: dict[int, Levels] = {}
    for start, stop in zip(starts, [*starts[1:], len(events)], strict=True):
        run = events[start:stop]
        book.apply(EventBatch.from_events(run.tobytes(), [(0, 0, len(run))]))
        if book.state == BookState.SYNCED:
            found[book.last_id] = book.top(10)
    return found


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_two_runs_over_a_capture_give_the_same_events(
    name: str, captures: Path, tmp_path: Path
) -> None:
    venue, symbol, interval_ms = RECORDINGS[name]
    file = captures / "wire" / "binance" / f"{name}.gz"
    one = record(file, venue, symbol, interval_ms, tmp_path / "one")
    two = record(file, venue, symbol, interval_ms, tmp_path / "two")
    assert one.topics.keys() == two.topics.keys()
    for channel in CHANNELS:
        first, second = masked(one, channel, symbol), masked(two, channel, symbol)
        assert len(first) > 100
        assert first.tobytes() == second.tobytes(), channel
    assert one.gaps() == two.gaps() == []
    assert one.book_states(symbol)[-1] == two.book_states(symbol)[-1] == "SYNCED"
    first_books, second_books = books(one, venue, symbol), books(two, venue, symbol)
    common = first_books.keys() & second_books.keys()
    assert len(common) > 100
    assert common >= {key for key in first_books if key >= min(second_books)}
    assert all(first_books[key] == second_books[key] for key in common)
