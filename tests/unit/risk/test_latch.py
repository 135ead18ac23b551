"""The latch file: what is not a whole record halts, and the native writer writes what is read."""

from __future__ import annotations

import os
import select
from pathlib import Path

import msgspec
import pytest

from risk.errors import LatchError
from risk.latch import (
    DAMAGED,
    LATCH,
    HaltedScope,
    HaltedSide,
    Latch,
    Source,
    at_start,
    boot_id,
    decode,
    encode,
    read,
)
from tickd.native import HaltWord, xxh3_hex

ARMED = Latch(
    state="armed",
    epoch=7,
    reason='checked "twice"\n',
    source=Source(kind="operator", name="ada"),
    wall_ns=1,
    mono_ns=2,
    boot_id="b",
    config="c",
    halts=(HaltedScope(scope="venue", key="okx", reason="r", source="s", wall_ns=3),),
)


def start(directory: Path) -> tuple[Latch, str]:
    return at_start(directory, config="new", wall_ns=10, mono_ns=11)


def test_a_record_comes_back_as_it_was() -> None:
    assert decode(encode(ARMED)) == ARMED
    assert msgspec.json.decode(encode(ARMED))["reason"] == ARMED.reason


def test_a_halt_of_both_sides_reads_in_builds_that_know_no_side() -> None:
    """Bytes that such a build wrote, with the check of then."""
    body = encode(ARMED).rpartition(b',"check"')[0]
    both = b'"halts":[{"scope":"venue","key":"okx","reason":"r","source":"s","wall_ns":3}]'
    assert both in body
    assert decode(encode(ARMED)).halts[0].side == ""


@pytest.mark.parametrize("side", ["B", "A"])
def test_a_halt_of_a_side_comes_back_and_no_other_word_is_one(side: HaltedSide) -> None:
    halts = (msgspec.structs.replace(ARMED.halts[0], side=side),)
    latch = msgspec.structs.replace(ARMED, halts=halts)
    content = encode(latch)
    assert f'"side":"{side}"'.encode() in content
    assert decode(content) == latch
    other = content.rpartition(b',"check"')[0].replace(b'"side":"', b'"side":"X')
    whole = other + f',"check":"{xxh3_hex(other)}"}}\n'.encode()
    with pytest.raises(LatchError, match="not understood"):
        decode(whole)


def test_a_file_cut_at_any_byte_halts(tmp_path: Path) -> None:
    content = encode(ARMED)
    for length in range(len(content)):
        (tmp_path / LATCH).write_bytes(content[:length])
        with pytest.raises(LatchError):
            read(tmp_path)
        latch, fault = start(tmp_path)
        assert latch.state == "halted"
        assert "damaged" in fault


def test_a_file_with_a_flipped_bit_halts() -> None:
    content = encode(ARMED)
    for place in range(len(content)):
        for bit in (1, 128):
            flipped = bytearray(content)
            flipped[place] ^= bit
            with pytest.raises(LatchError):
                decode(bytes(flipped))


@pytest.mark.parametrize("more", [b" ", b"\n", b"x"])
def test_a_file_with_something_behind_its_record_halts(more: bytes) -> None:
    with pytest.raises(LatchError):
        decode(encode(ARMED) + more)


def test_a_whole_record_of_an_unknown_version_halts() -> None:
    body, _, _ = encode(ARMED).rpartition(b',"check"')
    other = body.replace(b'"version":1', b'"version":2')
    whole = other + f',"check":"{xxh3_hex(other)}"}}\n'.encode()
    with pytest.raises(LatchError, match="not understood"):
        decode(whole)


def test_no_file_and_no_directory_halt(tmp_path: Path) -> None:
    latch, fault = start(tmp_path)
    assert (latch.state, latch.source) == ("halted", Source(kind="daemon", name="start"))
    assert "no latch file" in fault
    assert "directory is missing" in start(tmp_path / "missing")[1]


def test_an_unreadable_file_halts(tmp_path: Path) -> None:
    (tmp_path / LATCH).mkdir()
    latch, fault = start(tmp_path)
    assert latch.state == "halted"
    assert "directory" in fault


def test_a_life_that_ended_armed_was_not_stopped_cleanly(tmp_path: Path) -> None:
    (tmp_path / LATCH).write_bytes(encode(ARMED))
    latch, fault = start(tmp_path)
    assert latch.state == "halted"
    assert "cleanly" in fault
    assert latch.halts == ARMED.halts


def test_a_halt_keeps_its_reason_over_restarts(tmp_path: Path) -> None:
    killed = msgspec.structs.replace(
        ARMED, state="halted", reason="a kill", open_orders=4, source=Source(kind="signal", pid=9)
    )
    (tmp_path / LATCH).write_bytes(encode(killed))
    latch, fault = start(tmp_path)
    assert fault == ""
    assert latch == msgspec.structs.replace(killed, epoch=1, config="new")


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / LATCH).write_bytes(b"{")
    start(tmp_path)
    assert (tmp_path / DAMAGED).read_bytes() == b"{"
    assert not (tmp_path / LATCH).exists()


def test_the_native_writer_and_the_reader_agree(tmp_path: Path) -> None:
    word = HaltWord()
    word.start(
        tmp_path,
        config="c0ffee",
        boot_id=boot_id(),
        halts=msgspec.json.encode(ARMED.halts),
    )
    word.trip("prices look wrong", "test")
    assert select.select([word.fileno()], [], [], 20)[0]
    latch = read(tmp_path)
    (trip,) = word.take_trips()
    assert latch == Latch(
        state="halted",
        epoch=2,
        reason="prices look wrong",
        source=Source(kind="call", name="test"),
        wall_ns=trip["wall_ns"],
        mono_ns=trip["mono_ns"],
        boot_id=boot_id(),
        config="c0ffee",
        open_orders=None,
        halts=ARMED.halts,
    )
    word.set_halts(b"[]")
    word.bind()
    os.kill(os.getpid(), 10)
    assert select.select([word.fileno()], [], [], 20)[0]
    word.unbind()
    signalled = read(tmp_path)
    sender = Source(kind="signal", name="SIGUSR1", uid=os.getuid(), pid=os.getpid())
    assert signalled.source == sender
    # To the byte: what Python words is what the native thread would have written.
    assert encode(signalled) == (tmp_path / LATCH).read_bytes()
    word.stop()
