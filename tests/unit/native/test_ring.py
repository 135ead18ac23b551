"""The faces of feed and ring: what goes in at one end comes out at the other, by policy."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tickd.events import Flag, Kind, as_array
from tickd.native import (
    EventBatch,
    FeedReplay,
    FeedWriter,
    NativeError,
    RingReader,
    RingWriter,
)
from tickd.testing.batches import batch_of

NAMES = {1: "trade.okx.A", 2: "quote.okx.A", 3: "trade.okx.B"}
POLICIES = {"trade.okx.A": "conflate", "quote.okx.A": "drop_oldest"}


def resolve(topic: int) -> tuple[str, str | None]:
    return NAMES[topic], POLICIES.get(NAMES[topic])


def writer(capacity: int = 64, records: int = 100, records_total: int = 1_000) -> FeedWriter:
    return FeedWriter(resolve, capacity=capacity, records=records, records_total=records_total)


def seqs(batch: object) -> list[int]:
    assert isinstance(batch, EventBatch)
    return [int(seq) for seq in as_array(batch)["seq"]]


def drain(reader: RingReader, events_max: int = 1 << 20) -> list[int]:
    found: list[int] = []
    while (entry := reader.take(events_max)) is not None:
        found += seqs(entry)
    return found


def test_wanted_events_arrive_in_the_order_of_their_numbers() -> None:
    feed = writer()
    reader = RingReader.open(*feed.descriptors())
    feed.define(7, b"{}")
    feed.publish(batch_of([(1, [1, 4, 5]), (3, [2]), (2, [3, 6])], mono_ns=99))
    feed.text(3, b"words")
    assert reader.take(1) == ("definition", 7, b"{}")
    batch = reader.take(100)
    assert isinstance(batch, EventBatch)
    assert (seqs(batch), batch.ts_mono_ns, batch.seq_last) == ([1, 3, 4, 5, 6], 99, 6)
    assert reader.take(1) == ("text", 3, b"words")
    assert reader.take(1) is None
    assert feed.totals == (5, 5, 0, 0)
    assert (feed.seq, feed.waiting, feed.closed, feed.take_rows()) == (6, 0, None, [])


def test_a_batch_is_a_copy_that_outlives_the_ring() -> None:
    feed = writer()
    reader = RingReader.open(*feed.descriptors())
    feed.publish(batch_of([(1, [1, 2])]))
    kept = reader.take(100)
    for number in range(3, 200):
        feed.publish(batch_of([(1, [number])]))
        drain(reader)
    del feed, reader
    assert seqs(kept) == [1, 2]
    assert not as_array(kept).flags.writeable


def test_a_slow_reader_gets_what_the_policies_leave_and_the_rows_say_what_not() -> None:
    feed = writer(records=2)
    reader = RingReader.open(*feed.descriptors())
    feed.publish(batch_of([(1, range(1, 64))]))
    for number in range(64, 74, 2):
        feed.publish(batch_of([(1, [number]), (2, [number + 1])]))
    assert feed.waiting == 3
    assert drain(reader) == list(range(1, 64))
    feed.flush()
    assert drain(reader) == [71, 72, 73]
    assert feed.take_rows() == [
        (2, "drop_oldest", 65, 69, 3, 0),
        (1, "conflate", 64, 72, 5, 1),
    ]
    assert feed.totals == (73, 66, 3, 4)


@pytest.mark.parametrize("burst", [1, 3, 1000])
def test_a_replay_with_the_rows_gives_the_same_events(burst: int) -> None:
    feed = writer(records=2)
    reader = RingReader.open(*feed.descriptors())
    live: list[int] = []
    rows = []
    for number in range(1, 600, 2):
        feed.publish(batch_of([(1, [number]), (2, [number + 1])]))
        if number % 7 == 0:
            live += drain(reader, 10)[:20]
        rows += feed.take_rows()
    while feed.waiting:
        live += drain(reader)
        feed.flush()
    live += drain(reader)
    rows += feed.take_rows()
    named = [(NAMES[topic], *rest) for topic, *rest in rows]
    replay = FeedReplay(resolve, named)  # type: ignore[arg-type]
    again: list[int] = []
    for start in range(1, 601, burst):
        numbers = range(start, min(start + burst, 601))
        odd, even = [n for n in numbers if n % 2], [n for n in numbers if n % 2 == 0]
        runs = [(topic, seq) for topic, seq in ((1, odd), (2, even)) if seq]
        events = replay.offer(batch_of(runs))
        again += seqs(events) if events is not None else []
    assert replay.mismatches == 0
    assert again == live


def test_a_replay_of_another_log_is_noticed() -> None:
    replay = FeedReplay(resolve, [("trade.okx.A", "conflate", 1, 5, 5, 1)])
    assert replay.offer(batch_of([(1, [2, 3, 5])])) is not None
    assert replay.mismatches == 1


def test_a_topic_that_may_lose_nothing_ends_the_feed() -> None:
    feed = FeedWriter(
        lambda _: ("order.okx.A", "disconnect"), capacity=64, records=5, records_total=9
    )
    feed.publish(batch_of([(4, range(1, 64))]))
    feed.publish(batch_of([(4, range(64, 69))]))
    assert feed.closed is None
    feed.publish(batch_of([(4, [69])]))
    assert feed.closed is not None
    assert "{topic 4}" in feed.closed
    feed.publish(batch_of([(4, [70])]))
    feed.flush()


def test_a_policy_that_does_not_exist_is_refused() -> None:
    feed = FeedWriter(lambda _: ("trade.okx.A", "hope"), capacity=64, records=5, records_total=9)
    with pytest.raises(ValueError, match="no policy"):
        feed.publish(batch_of([(4, [1])]))


def test_events_stay_behind_definitions_that_found_no_room() -> None:
    feed = writer()
    reader = RingReader.open(*feed.descriptors())
    feed.publish(batch_of([(2, range(1, 60))]))
    feed.define(7, b"x" * 1_000)
    feed.publish(batch_of([(2, [60, 61])]))
    assert drain(reader) == list(range(1, 60))
    feed.flush()
    assert reader.take(9) == ("definition", 7, b"x" * 1_000)
    assert drain(reader) == [60, 61]


def test_portions_end_with_whole_messages_and_progress_tells_of_them() -> None:
    feed = writer()
    reader = RingReader.open(*feed.descriptors())
    feed.publish(batch_of([(2, range(1, 9))], message_records=4))
    assert seqs(reader.take(1)) == [1, 2, 3, 4]
    assert feed.progress()[0] > 0
    assert feed.progress()[1:] == (0, 0, 0)
    assert seqs(reader.take(1)) == [5, 6, 7, 8]
    assert feed.progress()[1:] == (4, 1, 4)
    reader.finish()
    assert feed.progress() == (0, 8, 2, 8)


def test_depth_messages_are_merged_into_one_that_ends_the_message() -> None:
    feed = FeedWriter(
        lambda _: ("depth.okx.A", "conflate"), capacity=64, records=99, records_total=99
    )
    reader = RingReader.open(*feed.descriptors())
    template = as_array(batch_of([(1, [1, 2])], kind=Kind.DEPTH_HEAD))
    seq = 0

    def message(first: int, last: int, *, snapshot: bool, levels: list[tuple[int, int]]) -> None:
        nonlocal seq
        events = np.repeat(template[:1], 1 + len(levels))
        events["seq"] = np.arange(len(events)) + seq + 1
        seq += len(events)
        events["id"], events["flags"] = last, Flag.SNAPSHOT if snapshot else 0
        events["kind"][1:] = Kind.DEPTH
        events["side"] = ord("B")
        events["price"][0] = first
        events["size"][0] = first - 1
        for at, (price, size) in enumerate(levels, 1):
            events["price"][at], events["size"][at] = price, size
        events["flags"][-1] |= Flag.LAST
        feed.publish(EventBatch.from_events(events.tobytes(), [(1, 0, len(events))]))

    message(5, 5, snapshot=True, levels=[(price, 1) for price in range(62)])
    message(6, 6, snapshot=False, levels=[(1, 7), (2, 8)])
    message(7, 9, snapshot=False, levels=[(2, 0)])
    assert len(drain(reader)) == 63
    feed.flush()
    merged = as_array(reader.take(99))
    assert merged[["kind", "id", "price", "size"]].tolist() == [
        (Kind.DEPTH_HEAD, 9, 6, 5),
        (Kind.DEPTH, 9, 1, 7),
        (Kind.DEPTH, 9, 2, 0),
    ]
    assert [bool(flags & Flag.LAST) for flags in merged["flags"]] == [False, False, True]
    assert feed.take_rows() == [(1, "conflate", 64, 68, 5, 3)]


def test_waiting_ends_with_an_entry_or_with_the_other_descriptor() -> None:
    answers = RingReader(64)
    back = RingWriter.open(*answers.descriptors())
    read, write = os.pipe()
    try:
        assert answers.wait(0, read) == (False, False)
        assert back.text(2, b"hello")
        assert answers.wait(10_000, read) == (True, False)
        assert answers.take(1) == ("text", 2, b"hello")
        os.close(write)
        assert answers.wait(10_000, read) == (False, True)
    finally:
        os.close(read)
    assert not answers.arm()
    assert back.text(2, b"x" * 4_000)
    assert not back.text(2, b"no room")
    answers.hush()
    assert answers.arm()
    with pytest.raises(NativeError, match="longer than the ring"):
        back.text(2, b"x" * 5_000)


def test_what_is_no_ring_is_refused() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(NativeError):
            RingReader.open(read, write)
        with pytest.raises(NativeError):
            RingWriter.open(-1, -1)
    finally:
        os.close(read)
        os.close(write)
    with pytest.raises(NativeError, match="power of two"):
        RingReader(100)
