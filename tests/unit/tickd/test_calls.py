"""Blocking calls on threads that hold nobody up."""

import threading

import pytest

from tickd.calls import in_thread


async def test_result_comes_from_another_thread():
    here = threading.get_ident()
    there = await in_thread(threading.get_ident, name="a call", seconds=5)
    assert there != here


async def test_what_the_call_raises_is_raised():
    def fail():
        raise ValueError("words")

    with pytest.raises(ValueError, match="words"):
        await in_thread(fail, name="a call", seconds=5)


async def test_a_call_that_hangs_is_left_behind_on_a_thread_that_keeps_nobody():
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await in_thread(release.wait, name="hanging call", seconds=0.02)
    (thread,) = (each for each in threading.enumerate() if each.name == "hanging call")
    assert thread.daemon
    release.set()
    thread.join(5)
    assert not thread.is_alive()
