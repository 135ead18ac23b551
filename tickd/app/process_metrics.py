"""The metrics of the process itself: CPU, memory, descriptors, garbage collection, loop and clock.

Names of `process_*` are Prometheus' own. Everything is read on scrape, on the loop's thread.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final

from strategy_runner.garbage import GarbageWatch
from tickd.app.parts import Parts
from tickd.ports import Clock
from tickd.telemetry.metrics import Metrics, Values
from tickd.telemetry.process import ProcessReader, ProcessState, descriptors, descriptors_max
from tickd.telemetry.system_clock import ClockState, read_clock

__all__ = ["declare_process", "watch_garbage"]

# Objectives, s: a bucket bound each. 10 ms are felt by strategies, 100 ms by everybody.
_SLO_LOOP: Final = (0.01, 0.1)
_SLO_GARBAGE: Final = (0.001, 0.01)


async def watch_garbage(watch: GarbageWatch) -> None:
    """Measure the pauses of garbage collection until cancelled."""
    watch.begin()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        watch.end()


def declare_process(metrics: Metrics, parts: Parts) -> None:
    """Declare everything; what this system cannot say shows nothing."""
    _declare_kernel(metrics, parts.clock)
    _declare_clock(metrics)
    metrics.read_counter(
        "tickd_app_loop_cpu_seconds_total",
        "CPU time of the thread that runs the event loop; a rate near 1 is saturation.",
        time.thread_time,
    )
    metrics.read_histogram(
        "tickd_app_loop_lag_seconds",
        "Lateness of the event loop's timers.",
        parts.loop_lag,
        slo_s=_SLO_LOOP,
    )
    metrics.read_histogram(
        "tickd_app_gc_pause_seconds",
        "Pauses by Python's garbage collector.",
        parts.garbage.pauses,
        slo_s=_SLO_GARBAGE,
    )
    metrics.read_counter(
        "tickd_app_gc_collections_total",
        "Collections of garbage, by generation.",
        lambda: {(str(n),): each["collections"] for n, each in enumerate(gc.get_stats())},
        ("generation",),
    )


def _declare_kernel(metrics: Metrics, clock: Clock) -> None:
    reader = ProcessReader(clock.wall_ns)
    process = metrics.once_per_scrape(lambda: reader.read(None))

    def read(field: Callable[[ProcessState], float]) -> Callable[[], Values]:
        def values() -> Values:
            state = process()
            return {} if state is None else field(state)

        return values

    metrics.read_counter(
        "process_cpu_seconds_total",
        "CPU time of the daemon's process, all threads.",
        read(lambda state: state.cpu_s),
    )
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "resident_memory_bytes": ("Memory in use.", read(lambda state: state.resident_bytes)),
        "virtual_memory_bytes": ("Address space.", read(lambda state: state.virtual_bytes)),
        "start_time_seconds": ("When the process began.", read(lambda state: state.started_s)),
        "threads": ("Threads.", read(lambda state: state.threads)),
        "open_fds": ("Open descriptors.", lambda: _present(descriptors())),
        "max_fds": ("Descriptors that may be open.", descriptors_max),
    }
    for name, (text, values) in gauges.items():
        metrics.read_gauge(f"process_{name}", text, values)


def _declare_clock(metrics: Metrics) -> None:
    clock = metrics.once_per_scrape(read_clock)

    def read(field: Callable[[ClockState], float]) -> Callable[[], Values]:
        def values() -> Values:
            state = clock()
            return {} if state is None else field(state)

        return values

    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "synchronised_state": (
            "1 while the kernel holds its clock for synchronised; nothing where it says nothing.",
            read(lambda state: int(state.synchronised)),
        ),
        "offset_seconds": (
            "What the clock's discipline found last between its source and the clock.",
            read(lambda state: state.offset_s),
        ),
        "error_max_seconds": (
            "Bound of the clock's error; it grows without a source.",
            read(lambda state: state.error_max_s),
        ),
        "error_estimated_seconds": (
            "The clock's error as its discipline estimates it.",
            read(lambda state: state.error_estimated_s),
        ),
    }
    for name, (text, values) in gauges.items():
        metrics.read_gauge(f"tickd_clock_{name}", text, values)


def _present(value: float | None) -> Values:
    return {} if value is None else value
