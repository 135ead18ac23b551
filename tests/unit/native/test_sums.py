"""What native code adds up for the metrics, against sums over every topic in Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tickd.bus import Bus
from tickd.bus_queue import Limits, TopicLag, WhenFull
from tickd.native import Decoder, Histogram
from tickd.testing.batches import counted_batch
from tickd.testing.clock import ManualClock
from tickd.testing.wire_log import WireLog

STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 30), st.integers(1, 9), min_size=1, max_size=6),
        st.integers(0, 3),  # how many times something is taken
    ),
    max_size=20,
)


def badness(row: TopicLag) -> tuple[float, int, int]:
    return (-row.oldest_age_s, -row.depth, -row.dropped)


@given(STEPS, st.integers(0, 40))
def test_sums_and_worst_topics_are_those_of_all_rows(
    steps: list[tuple[dict[int, int], int]], worst: int
) -> None:
    clock = ManualClock()
    bus = Bus(lambda number: f"trade.sim.S{number}", clock)
    queue = bus.subscribe(
        "*", name="q", when_full=WhenFull.DROP_OLDEST, limits=Limits(records_max=7)
    )
    seq, peak = 1, 0
    for counts, takes in steps:
        clock.move(1_000)
        bus.publish(counted_batch(seq, counts, mono_ns=clock.mono_ns()))
        seq += sum(counts.values())
        peak = max([peak, *(row.depth for row in queue.lag())])
        for _ in range(takes):
            queue.take_now(3)
    clock.move(5_000)
    rows = queue.lag()
    whole, found = queue.sums(worst=worst, reset=True)
    assert whole.topic == "*"
    assert whole.depth == sum(row.depth for row in rows)
    assert whole.dropped == sum(row.dropped for row in rows)
    assert whole.events == sum(row.events for row in rows)
    assert whole.oldest_age_s == max((row.oldest_age_s for row in rows), default=0.0)
    assert whole.high_water == peak
    behind = sorted(map(badness, (row for row in rows if row.depth or row.dropped)))
    assert list(map(badness, found)) == behind[:worst]
    assert set(found) <= set(rows)
    assert queue.sums(worst=0)[0].high_water == max((row.depth for row in rows), default=0)


def test_streams_add_up_to_their_topics(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "raw", 5)
    for _ in range(5):
        log.burst(40)
    decoder: Decoder = log.decoder
    sums: Counter[tuple[str, ...]] = Counter()
    last: dict[tuple[str, ...], int] = {}
    for topic, events, mono_ns in decoder.topic_stats():
        key = tuple(decoder.topic_name(topic).split(".", 2)[:2])
        sums[key] += events
        last[key] = max(last.get(key, 0), mono_ns)
    streams = {(channel, venue): (n, at) for channel, venue, n, at in decoder.stream_stats()}
    assert streams == {key: (sums[key], last[key]) for key in sums}
    assert sum(sums.values()) > 0
    log.close()


def test_a_window_forgets_what_came_before_its_last_two_turns() -> None:
    histogram = Histogram()
    histogram.record(1_000_000_000)
    window = histogram.window()
    assert window.quantiles([0.5]) is None
    histogram.record(1_000)
    window.turn()
    histogram.record(2_000)
    low, high = window.quantiles([0.5, 1.0]) or []
    assert 1_000 <= low < 1_040
    assert 2_000 <= high < 2_070
    window.turn()
    (only,) = window.quantiles([0.5]) or []
    assert 2_000 <= only < 2_070
    window.turn()
    assert window.quantiles([0.5]) is None
    assert histogram.count == 3
