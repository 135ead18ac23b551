"""Figures of any size are written down: in all their digits, or as words."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest

from tests.harness.trading_world import config_of, living
from tickd.app.dumping import write_dump
from tickd.app.encoding import encode

HUGE = 10**30


def test_what_orjson_writes_is_written_by_it() -> None:
    fields = {"kind": "order", "price": (1 << 64) - 1, "low": -(1 << 63), "none": None}
    assert encode(fields) == orjson.dumps(fields)


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, HUGE, -HUGE])
def test_an_integer_beyond_64_bits_keeps_its_digits(value: int) -> None:
    assert json.loads(encode({"a": [value, {"b": value}]})) == {"a": [value, {"b": value}]}


def test_an_integer_without_a_decimal_text_is_words() -> None:
    assert json.loads(encode({"a": 1 << 20_000})) == {"a": "an integer of 20001 bits"}


def test_what_is_no_json_is_still_an_error() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})


async def test_a_dump_takes_any_figure(tmp_path: Path) -> None:
    path = write_dump(tmp_path, {"pnl": HUGE, "path": tmp_path}, wall_ns=1)
    assert json.loads(path.read_bytes())["status"] == {"pnl": HUGE, "path": str(tmp_path)}


async def test_a_record_with_a_huge_figure_ends_no_daemon(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        world.tap.control({"kind": "account", "account": "one", "unrealised": HUGE})
        assert world.of("account", unrealised=HUGE)
        await world.ready()
        await world.state(world.submit(price=9_990), "accepted")
