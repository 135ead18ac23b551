"""The watermark on a real raw log, whose file is kept from growing by a resource limit."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recorder.raw.watermark import Watermark
from tickd.clock import SystemClock
from tickd.errors import Action, TickdError
from tickd.native import Decoder, NativeError, RawLog


@contextmanager
def no_file_grows() -> Iterator[None]:
    """Every write of this process into a file fails with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def open_log(directory: Path) -> tuple[RawLog, Decoder]:
    log, decoder = RawLog(str(directory), node=1, group_ms=1), Decoder()
    log.restore_decoder(decoder)
    return log, decoder


def write(log: RawLog, decoder: Decoder) -> int:
    frame_no = log.record(0, "C", b'{"kind":"start","version":"0","node":1}')
    log.end_burst(decoder)
    return frame_no


async def failed_once(log: RawLog) -> None:
    """Wait until the writer has reported a fault."""
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(log.wake_fd, rung.set)
    async with asyncio.timeout(5):
        while log.fault is None:
            await rung.wait()
            rung.clear()
            os.read(log.wake_fd, 8)
    loop.remove_reader(log.wake_fd)


async def test_who_waits_outlives_a_disk_that_takes_nothing_for_a_while(tmp_path: Path) -> None:
    log, decoder = open_log(tmp_path)
    watermark = Watermark(log, durable=False, clock=SystemClock())
    with no_file_grows():
        frame_no = write(log, decoder)
        waiting = asyncio.ensure_future(watermark.reached(frame_no))
        await failed_once(log)
        watermark.moved()
        assert not waiting.done()
        assert log.failure is None
    unwatch = watermark.watch(asyncio.get_running_loop())
    async with asyncio.timeout(5):
        await waiting
    assert log.fault is None
    unwatch()
    log.close()


async def test_who_waits_is_told_when_the_log_gave_up(tmp_path: Path) -> None:
    """It gives up only when it is closed and its time has passed."""
    log, decoder = open_log(tmp_path)
    watermark = Watermark(log, durable=False, clock=SystemClock())
    with no_file_grows():
        frame_no = write(log, decoder)
        waiting = asyncio.ensure_future(watermark.reached(frame_no))
        await failed_once(log)
        with pytest.raises(NativeError):
            log.close(timeout_ms=50)
    assert log.failure is not None
    watermark.moved()
    with pytest.raises(TickdError, match="raw log failed") as failed:
        await waiting
    assert failed.value.action is Action.FATAL
