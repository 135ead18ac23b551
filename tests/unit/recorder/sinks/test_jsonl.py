"""Events as JSON lines: what is written, how much disk it takes, what happens without."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from pathlib import Path

import pytest

from recorder.sinks.jsonl.config import JsonlConfig
from recorder.sinks.jsonl.files import RotatingFiles
from recorder.sinks.jsonl.sink import JsonlSink
from recorder.sinks.port import SinkContext
from tickd.bus import Bus
from tickd.bus_queue import BurstSubscription, Limits
from tickd.testing.batches import counted_batch
from tickd.testing.clock import ManualClock

NAMES = {1: "trade.sim.A", 2: "quote.sim.A", 3: "trade.sim.B", 4: "clock.node.tick"}
DEFINITION = {"price_scale": 2, "size_scale": 3}


def wired(
    directory: Path, config: JsonlConfig, queue_max: int = 1000
) -> tuple[Bus, JsonlSink, BurstSubscription]:
    bus = Bus(NAMES.__getitem__, ManualClock())
    sink = JsonlSink(config, SinkContext(directory, NAMES.__getitem__))
    bursts = bus.subscribe_bursts(
        name="jsonl", when_full=sink.when_full, limits=Limits(records_total_max=queue_max)
    )
    return bus, sink, bursts


def lines(directory: Path) -> list[dict[str, object]]:
    text = "".join(path.read_text() for path in sorted(directory.glob("*.jsonl")))
    return [json.loads(line) for line in text.splitlines()]


async def test_selected_topics_are_written_in_the_order_of_the_node(tmp_path: Path) -> None:
    bus, sink, bursts = wired(tmp_path, JsonlConfig(topics=("trade.*.*",)))
    sink.define(0, json.dumps(DEFINITION).encode())
    bus.publish(counted_batch(1, {3: 2, 1: 2, 2: 5}))
    bus.publish(counted_batch(100, {1: 1}))
    bus.close()
    await sink.run(bursts)
    written = lines(tmp_path)
    assert {line["topic"] for line in written} == {"trade.sim.A", "trade.sim.B"}
    assert len(written) == 5
    seqs = [line["seq"] for line in written]
    assert seqs == sorted(seqs)
    (name,) = os.listdir(tmp_path)  # noqa: PTH208 - no path of pathlib in a coroutine
    assert name == f"{seqs[0]:020d}.jsonl"


async def test_the_clock_of_strategies_is_no_line_even_when_everything_is(tmp_path: Path) -> None:
    bus, sink, bursts = wired(tmp_path, JsonlConfig(topics=("*",)))
    sink.define(0, json.dumps(DEFINITION).encode())
    bus.publish(counted_batch(1, {1: 1, 4: 1}))
    bus.close()
    await sink.run(bursts)
    assert [line["topic"] for line in lines(tmp_path)] == ["trade.sim.A"]


async def test_what_the_full_queue_let_go_stands_in_the_file(tmp_path: Path) -> None:
    bus, sink, bursts = wired(tmp_path, JsonlConfig(), queue_max=10)
    for number in range(5):
        bus.publish(counted_batch(1 + 4 * number, {1: 4}))
    bus.close()
    await sink.run(bursts)
    written = lines(tmp_path)
    (dropped,) = [line["dropped"] for line in written if "dropped" in line]
    assert isinstance(dropped, dict)
    assert dropped["records"] + len(written) - 1 == 20
    assert "dropped" in written[0], "before what came after it"


async def test_a_full_disk_delays_and_repeats_nothing(tmp_path: Path) -> None:
    """Method: the process's own limit of file sizes, so that a real write is cut short."""
    bus, sink, bursts = wired(tmp_path, JsonlConfig())
    bus.publish(counted_batch(1, {1: 50}))
    bus.close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            await sink.run(bursts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert lines(tmp_path) == []
    await sink.run(bursts)
    assert len({line["seq"] for line in lines(tmp_path)}) == len(lines(tmp_path)) == 50


async def test_cancelled_in_the_middle_it_closes_its_file(tmp_path: Path) -> None:
    bus, sink, bursts = wired(tmp_path, JsonlConfig())
    bus.publish(counted_batch(1, {1: 3}))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sink.run(bursts), name="sink")
        while not lines(tmp_path):  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0)
        task.cancel()
    assert len(lines(tmp_path)) == 3


def test_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    files = RotatingFiles(tmp_path, file_bytes_max=100, files_max=3)
    for seq in range(40):
        files.write(b"x" * 24 + b"\n", seq)
    files.close()
    kept = sorted(tmp_path.iterdir())
    assert [path.stem for path in kept] == [f"{seq:020d}" for seq in (28, 32, 36)]
    assert all(path.stat().st_size == 100 for path in kept)


@pytest.mark.parametrize(
    "wrong",
    [{"files_max": 1}, {"file_bytes_max": 10}, {"topics": ("x",)}, {"queue_records_max": 0}],
)
def test_config_refuses_what_cannot_work(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least|pattern|positive"):
        JsonlConfig(**wrong)  # type: ignore[arg-type]
