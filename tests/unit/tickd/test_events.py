"""The Python face of the event is the Rust event, field by field, byte by byte."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tickd.events import (
    EVENT,
    EVENT_BYTES,
    BookState,
    Flag,
    GapCause,
    Kind,
    OrderState,
    Side,
    as_array,
)
from tickd.native import EventBatch

CORE = Path(__file__).parents[3] / "native/core/src/event.rs"


def rust_numbers(body: str) -> dict[str, int]:
    found = re.findall(
        r"^\s+(?:pub const )?(\w+)(?:: u\d+)? = (0x[0-9a-f]+|\d+)[,;]", body, re.MULTILINE
    )
    return {
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper(): int(value, 0) for name, value in found
    }


def rust_block(start: str) -> str:
    text = CORE.read_text()
    begin = text.index(start)
    return text[begin : text.index("\n}", begin)]


@pytest.mark.parametrize(
    ("python", "rust"),
    [
        (Kind, "pub enum Kind"),
        (Flag, "pub mod flag"),
        (BookState, "pub enum BookState"),
        (GapCause, "pub enum GapCause"),
        (OrderState, "pub enum OrderState"),
    ],
)
def test_numbers_are_those_of_rust(python: type[Kind], rust: str) -> None:
    assert {each.name: each.value for each in python} == rust_numbers(rust_block(rust))


def test_layout_survives_the_round_trip_through_rust_with_every_field_distinct() -> None:
    """from_events parses each field by Rust's own offsets.

    A sub-batch copies the parsed structs out again.
    """
    rng = np.random.default_rng(64)
    raw = rng.integers(0, 256, size=5 * EVENT_BYTES, dtype=np.uint8).tobytes()
    batch = EventBatch.from_events(raw, [(3, 0, 2), (9, 2, 5)], 77)
    assert bytes(memoryview(batch)) == raw
    seqs = np.frombuffer(raw, EVENT)["seq"]
    assert (batch.seq_first, batch.seq_last) == (seqs.min(), seqs.max())
    assert batch.frame_last == int(seqs.max()) >> 16
    assert (batch.ts_mono_ns, batch.topics, len(batch)) == (77, ((3, 0, 2), (9, 2, 5)), 5)
    part = batch.slice(1, 4)
    assert part.topics == ((3, 0, 1), (9, 1, 3))
    assert (part.seq_first, part.seq_last) == (seqs[1:4].min(), seqs[1:4].max())


def test_offsets_are_the_ones_pinned_in_rust() -> None:
    pinned = re.search(r"assert_eq!\(offsets, \[([\d, ]+)\]\)", CORE.read_text())
    assert pinned is not None
    assert EVENT.fields is not None
    ours = [EVENT.fields[name][1] for name in EVENT.names or ()]
    assert ours == [int(number) for number in pinned[1].split(",")]
    assert EVENT.itemsize == EVENT_BYTES


def test_array_of_a_batch_is_a_read_only_view() -> None:
    batch = EventBatch.from_events(bytes(EVENT_BYTES), [(0, 0, 1)])
    array = as_array(batch)
    assert not array.flags.writeable
    assert array["side"][0] == 0
    assert ord("B") == Side.BID


@pytest.mark.parametrize(
    ("size", "topics", "words"),
    [
        (63, [(0, 0, 1)], "no whole number"),
        (128, [(0, 0, 1)], "cover 1 of 2"),
        (128, [(0, 1, 2)], "does not follow"),
        (128, [(0, 0, 2), (1, 2, 2)], "does not follow"),
        (64, [(0, 0, 2)], "cover 2 of 1"),
    ],
)
def test_from_events_refuses_what_does_not_add_up(
    size: int, topics: list[tuple[int, int, int]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        EventBatch.from_events(bytes(size), topics)
