"""The collector runs on whichever thread allocates: native objects of a loop may go on any."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable

import pytest

from tests.unit.strategy_runner.kit import BTC, Tape
from tickd.native import BusCore, Dispatch, LastValues
from tickd.testing.batches import counted_batch


def of_a_bus() -> list[object]:
    core = BusCore(
        lambda number: (f"trade.venue.S{number}", [queues], [handler]),
        lambda _number, _error: None,
        lambda: None,
        lambda: None,
    )
    queues = core.topic_queues(lambda: None, "drop_oldest", 100, 100, 0, 10)
    bursts = core.burst_queue(lambda: None, "spill", 100, 0)
    handler = core.handler(lambda _topic, _batch: None, 3)
    core.set_subscribers([bursts], [], [queues], topics_with_handlers=True)
    core.publish(counted_batch(1, {0: 3}))
    return [core, queues, bursts, handler]


def of_a_host() -> list[object]:
    kept: list[object] = []
    dispatch = Dispatch([1], lambda _number, _error: None)
    dispatch.define(BTC, "binance-usdm", 2, 3, [0xFFFF])
    dispatch.attach(0, {"trade": kept.append, "quote": kept.append})
    dispatch.feed(Tape().trade(1, 1).quote(10, 12).trade(2, 1).take())
    assert len(kept) == 3
    return [dispatch, dispatch.last, *kept]


def of_a_cache() -> list[object]:
    last = LastValues()
    last.update(Tape().trade(1, 1).quote(10, 12).take())
    return [last, last.trade(BTC), last.quote(BTC)]


class Ring:
    """Refers to itself, so that only the collector ends it."""

    def __init__(self, content: list[object]) -> None:
        self.content = (self, *content)


def collected_elsewhere() -> list[str]:
    """What could not be raised while another thread collected the garbage."""
    complaints: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda about: complaints.append(str(about.exc_value))
    try:
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()
    finally:
        sys.unraisablehook = before
    return complaints


@pytest.mark.parametrize("make", [of_a_bus, of_a_host, of_a_cache])
def test_garbage_goes_on_whichever_thread_finds_it(make: Callable[[], list[object]]) -> None:
    gc.disable()
    try:
        gone = weakref.ref(Ring(make()))
        assert gone() is not None
        assert collected_elsewhere() == []
        assert gone() is None
    finally:
        gc.enable()
