"""A set of indicators on recorded frames: its books against `L2Book`, whatever the cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.indicators import Mlofi, Ofi
from strategy_runner.indicators.indicator_set import IndicatorSet
from tests.reference.records import CAPTURES, capture_records
from tickd.events import BookState, Kind, as_array
from tickd.native import Decoder, L2Book

pytestmark = pytest.mark.captures

VENUE, LEVELS, WINDOW = "binance-usdm", 10, 20
CONFIGS = tuple(
    IndicatorConfig(name=kind, kind=kind, topics=(f"depth.{VENUE}.*",), params=params)
    for kind, params in (
        ("mlofi", {"levels": LEVELS, "window": WINDOW}),
        ("ofi", {"window": WINDOW}),
    )
)
BURSTS = (1, 50, 5_000)


@pytest.fixture(scope="module")
def frames(captures: Path) -> list[bytes]:
    """A tenth of the capture: over a minute, with the book's snapshot."""
    records = list(capture_records(captures, CAPTURES[VENUE]))
    return records[: len(records) // 10]


def made(decoder: Decoder) -> IndicatorSet:
    return IndicatorSet(CONFIGS, topic_name=decoder.topic_name, intern_topic=decoder.intern_topic)


def by_hand(frames: list[bytes]) -> tuple[list[int], list[list[float]]]:
    """Numbers of the messages at which the book is proven, and what single indicators say."""
    decoder = Decoder()
    book: L2Book | None = None
    mlofi, ofi = Mlofi(LEVELS, window=WINDOW), Ofi(window=WINDOW)
    flat, scale = np.empty(4 * LEVELS), np.tile([100.0, 1000.0], 2 * LEVELS)
    seqs: list[int] = []
    values: list[list[float]] = []
    for frame in frames:
        batch = decoder.decode(frame)
        if book is None and (known := decoder.instruments()):
            book = L2Book(VENUE, known[0][0])
        if book is None or not book.apply(batch) or book.state != BookState.SYNCED:
            continue
        book.write_flat(flat)
        row: Any = flat / scale
        events = as_array(batch)
        seqs.append(int(events[events["kind"] == Kind.DEPTH]["seq"][-1]))
        ts = int(events["ts_event"][-1])
        values.append([mlofi.update(row, ts), ofi.update(*row[:4].tolist(), ts)])
    return seqs, values


def test_books_feed_what_the_book_alone_feeds_and_cuts_change_nothing(frames: list[bytes]) -> None:
    seqs, values = by_hand(frames)
    assert len(seqs) > 500
    for size in BURSTS:
        decoder = Decoder()
        both, rows = made(decoder), []
        for at in range(0, len(frames), size):
            batch = decoder.decode(b"".join(frames[at : at + size]))
            for number, definition in decoder.instruments():
                both.define(number, definition)
            rows.append(both.rows(batch))
        found = np.concatenate(rows)
        assert list(found["seq"]) == [seq for seq in seqs for _ in CONFIGS]
        assert np.array_equal(found["value"].reshape(-1, 2), values, equal_nan=True)
    assert np.isfinite(found["value"]).sum() > len(found) - 100
