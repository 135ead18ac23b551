"""The faces of halt word and probe; threads, files and the handler are tested in native/io."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickd.native import HaltProbe, HaltWord, NativeError

WAIT_MS = 20_000


@pytest.fixture
def bound() -> Iterator[HaltWord]:
    word = HaltWord()
    word.bind()
    yield word
    word.unbind()


class _Poll(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def poll_with_gil(fd: int) -> bool:
    """Wait in one C call that keeps the GIL, as a library that never gives it up does."""
    watched = _Poll(fd, select.POLLIN, 0)
    found: int = ctypes.PyDLL(None).poll(ctypes.byref(watched), 1, WAIT_MS)
    return found == 1


def test_a_word_begins_halted_and_opens_for_its_one_key() -> None:
    word = HaltWord()
    assert (word.word, word.epoch, word.is_halted, word.is_reducing) == (257, 1, True, False)
    arming = word.arming()
    with pytest.raises(NativeError, match="somebody else"):
        word.arming()
    assert not arming.open(word.word + 256)
    assert arming.prepare(word.word, b"")  # no latch, no file
    assert arming.open(word.word)
    assert not word.is_halted
    assert word.trip("a test") == word.word == 2 << 8 | 1
    assert arming.reduce(word.word)
    assert word.is_halted
    assert word.is_reducing


def test_the_signal_has_one_word_and_trips_it_without_python(bound: HaltWord) -> None:
    other = HaltWord()
    with pytest.raises(NativeError, match="another halt word is bound"):
        other.bind()
    assert not other.unbind()
    os.kill(os.getpid(), signal.SIGUSR1)
    while bound.epoch == 1:
        pass
    assert other.epoch == 1


def test_a_word_that_goes_leaves_the_signal_to_the_next() -> None:
    word = HaltWord()
    word.bind()
    del word
    os.kill(os.getpid(), signal.SIGUSR1)  # nobody's, and ends nothing
    again = HaltWord()
    again.bind()
    assert again.unbind()


def test_what_needs_a_latch_says_so() -> None:
    word = HaltWord()
    for call in (word.fileno, word.take_trips, word.latch_status):
        with pytest.raises(NativeError, match="no latch was started"):
            call()
    with pytest.raises(NativeError, match="no latch was started"):
        word.keep(1, b"")
    word.stop()


def test_a_latch_is_started_once(tmp_path: Path) -> None:
    word = HaltWord()
    word.start(tmp_path)
    with pytest.raises(NativeError, match="started before"):
        word.start(tmp_path)
    with pytest.raises(NativeError):
        word.set_halts(b"[")


def test_latch_bell_and_panic_need_no_gil(tmp_path: Path) -> None:
    """All that follows a signal happens inside one C call that never lets the GIL go."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    script = f"cat {tmp_path}/latch.json > /dev/fd/{write_end}"
    word = HaltWord()
    word.start(tmp_path, panic=["sh", "-c", script], panic_after_ms=20)
    word.bind()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert poll_with_gil(read_end), "tickd panic was not run"
        assert b'"name":"SIGUSR1"' in os.read(read_end, 4096)
        assert select.select([word.fileno()], [], [], 0)[0]
        (trip,) = word.take_trips()
        assert (trip["kind"], trip["pid"]) == ("signal", os.getpid())
        assert word.latch_status()["panic_runs"] == 1
    finally:
        word.unbind()
        word.stop()
        os.close(read_end)
        os.close(write_end)


def test_a_signal_is_seen_while_another_thread_holds_the_gil() -> None:
    """The probe's thread sends and sees; this one keeps the GIL in C until the series has ended."""
    probe = HaltProbe(50, 100, native=True)
    while not probe.is_done:
        ctypes.PyDLL(None).usleep(20_000)
    assert len(probe.finish()) == 50
    assert probe.finish() == []


def test_a_probe_waits_for_handlers_of_python_s() -> None:
    assert threading.current_thread() is threading.main_thread()
    started: list[HaltProbe] = []
    early: list[bool] = []  # the first shot may come before the probe has a name

    def on_signal(*_: object) -> None:
        for each in started:
            each.trip()
        early.append(not started)

    signal.signal(signal.SIGUSR1, on_signal)
    try:
        probe = HaltProbe(5, 100, native=False)
        started.append(probe)
        if any(early):
            probe.trip()
        while not probe.is_done:
            pass
        assert len(probe.finish()) == 5
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
