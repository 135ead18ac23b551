"""The daemon's side of `tickd top`: order, filter, rates and bounds, drawn in many short steps.

Method: a daemon's parts over an empty directory, fed by a simulated market; an answer is stepped by
hand, as the loop would, so that its steps can be counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tickd.app import top as top_module
from tickd.app.config import Config, NodeConfig
from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.app.selftest import make_market
from tickd.app.top import ROWS_MAX, STEP, Top, _largest
from tickd.app.wiring import wire
from tickd.bus_queue import WhenFull


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    made = wire(Config(node=NodeConfig(state_dir=str(tmp_path / "state"))))
    made.bus.subscribe("trade.*.*", name="slow", when_full=WhenFull.DROP_OLDEST)
    made.decoder.decode(MARKET.preamble)
    feed(made, 0, 100)
    yield made
    made.tap.detach()
    made.raw_log.close(5_000)
    await asyncio.to_thread(made.halting.stop)
    made.bus.close()


MARKET = make_market()


def feed(parts: Parts, first: int, last: int) -> None:
    for burst in MARKET.bursts[first:last]:
        parts.bus.publish(parts.decoder.decode(burst))


def steps(top: Top, **request: object) -> tuple[int, dict[str, Any]]:
    """How often the loop had its turn, and the answer."""
    drawing = top.answer(request)
    count = 0
    while True:
        try:
            drawing.send(None)
        except StopIteration as ended:
            return count, ended.value
        count += 1


async def test_topics_come_in_the_order_that_was_asked_for(parts: Parts) -> None:
    top = Top(parts, Picture(parts))
    by_events = (await top.answer({"sort": "events"}))["rows"]
    assert [row["events"] for row in by_events] == sorted(
        (row["events"] for row in by_events), reverse=True
    )
    by_name = (await top.answer({"sort": "topic"}))["rows"]
    assert [row["topic"] for row in by_name] == sorted(row["topic"] for row in by_name)
    by_depth = (await top.answer({"sort": "depth"}))["rows"]
    assert by_depth[0]["topic"].startswith("trade.")  # the only queue is of trades
    assert by_depth[0]["depth"] > 0
    counts = {row["topic"]: row["events"] for row in Picture(parts).topics()}
    assert {row["topic"]: row["events"] for row in by_events} == counts


async def test_filter_and_rows_bound_the_answer(parts: Parts) -> None:
    top = Top(parts, Picture(parts))
    rows = (await top.answer({"filter": "QUOTE."}))["rows"]
    assert [row["topic"].partition(".")[0] for row in rows] == ["quote"]
    assert len((await top.answer({"rows": 1}))["rows"]) == 1
    assert len((await top.answer({"rows": -5, "sort": "no such"}))["rows"]) == 1
    everything = await top.answer({"rows": 10**9, "filter": 7, "page": ["x"], "topic": None})
    assert len(everything["rows"]) <= ROWS_MAX


async def test_rates_are_of_two_readings(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_module, "RATE_NS", 0)  # every answer is a reading
    top = Top(parts, Picture(parts))
    assert not (await top.answer({}))["rates_known"]
    before = {row["topic"]: row["events"] for row in (await top.answer({}))["rows"]}
    feed(parts, 100, 140)
    after = await top.answer({})
    assert after["rates_known"]
    rising = {row["topic"] for row in after["rows"] if row["events"] > before[row["topic"]]}
    assert rising == {row["topic"] for row in after["rows"] if row["rate"] > 0}
    assert rising


async def test_one_topic_shows_its_queues(parts: Parts) -> None:
    top = Top(parts, Picture(parts))
    name = next(row["topic"] for row in Picture(parts).topics() if row["topic"][:6] == "trade.")
    answer = await top.answer({"page": "topic", "topic": name})
    queues = {each["subscription"]: each for each in answer["queues"]}
    assert queues["slow"]["depth"] == answer["topic"]["depth"] > 0


async def test_the_loop_has_a_turn_for_every_few_topics(parts: Parts) -> None:
    few, _ = steps(Top(parts, Picture(parts)))
    for number in range(10 * STEP):
        parts.decoder.intern_topic(f"signal.selftest.T{number}")
    many, _ = steps(Top(parts, Picture(parts)))
    assert many - few >= 10  # names alone; topics with events add to each part


@pytest.mark.parametrize("count", [1, 5, 1_000])
async def test_the_largest_in_steps_are_the_largest(count: int) -> None:
    items = [(number * 7_919) % 1_009 for number in range(1_000)]
    expected = sorted(items, reverse=True)[:count]
    assert await _largest(items, lambda each: each, count) == expected
