"""Configured sinks: each has its queue and its life; a failing one hurts only itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from recorder.sinks.jsonl.config import JsonlConfig
from tickd.app.config import Config
from tickd.app.sinks import RETRY, RunningSink, running_sinks
from tickd.bus import Bus
from tickd.config import dump, parse
from tickd.errors import ConfigError
from tickd.testing.batches import counted_batch
from tickd.testing.clock import ManualClock

TABLE = b'[[sinks]]\nname = "jsonl"\ntopics = ["trade.*.*"]\n'


def started(state: Path) -> tuple[Bus, RunningSink, ManualClock]:
    clock = ManualClock()
    bus = Bus(lambda number: f"trade.sim.S{number}", clock)
    (sink,) = running_sinks(
        [JsonlConfig()],
        state_dir=state,
        bus=bus,
        topic_name=lambda number: f"trade.sim.S{number}",
        clock=clock,
        random=lambda: 0.5,
    )
    return bus, sink, clock


async def test_a_sink_ends_with_the_bus(tmp_path: Path) -> None:
    bus, sink, _ = started(tmp_path)
    bus.publish(counted_batch(1, {1: 3}))
    bus.close()
    await sink.run()
    (file,) = (tmp_path / "sinks" / "jsonl").iterdir()
    assert len(file.read_text().splitlines()) == 3
    assert (tmp_path / "sinks" / "jsonl").stat().st_mode & 0o777 == 0o700


async def test_a_failing_sink_is_called_again_on_the_same_queue(tmp_path: Path) -> None:
    bus, sink, clock = started(tmp_path)
    folder = tmp_path / "sinks" / "jsonl"
    folder.rmdir()  # nowhere to write
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run(), name="sink")
        bus.publish(counted_batch(1, {1: 3}))
        while not sink.failures:  # noqa: ASYNC110 - a thread fails
            await asyncio.sleep(0)
        assert sink.fault is not None
        assert "FileNotFoundError" in sink.fault
        bus.publish(counted_batch(10, {1: 2}))
        folder.mkdir()
        await clock.advance(RETRY.delay_ms_max / 1000)
        bus.close()
    text = "".join(path.read_text() for path in folder.iterdir())
    seqs = [json.loads(line)["seq"] for line in text.splitlines()]
    assert len(seqs) == len(set(seqs)) == 5


async def test_a_held_sink_writes_nothing_until_it_is_released(tmp_path: Path) -> None:
    bus, sink, _ = started(tmp_path)
    folder = tmp_path / "sinks" / "jsonl"
    sink.hold()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sink.run(), name="sink")
        bus.publish(counted_batch(1, {1: 3}))
        for _ in range(50):
            await asyncio.sleep(0)
        assert list(folder.iterdir()) == []
        sink.release()
        bus.close()
        await running
    assert sum(len(path.read_text().splitlines()) for path in folder.iterdir()) == 3


def test_tables_are_read_by_the_struct_of_their_name_and_dumped_with_it() -> None:
    config = parse(TABLE, Config)
    assert config.sinks == (JsonlConfig(topics=("trade.*.*",)),)
    assert parse(dump(config).encode(), Config) == config


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        (b'[[sinks]]\nname = "jsn"\n', "invalid value 'jsn'", "known: jsonl"),
        (b"[[sinks]]\nfiles_max = 2\n", "required key is missing", None),
        (b'[[sinks]]\nname = "jsonl"\nfoo = 1\n', "unknown key", "files_max"),
        (TABLE + TABLE, "listed twice", None),
    ],
)
def test_mistakes_are_explained(text: bytes, complaint: str, hint: str | None) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse(text, Config)
    assert hint is None or hint in (caught.value.hint or "")
