"""`tickd selftest`: every stage is measured with real work, and judged beside what is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tickd.app.findings import Verdict
from tickd.app.selftest import REQUIRED, Figure, judge, make_market, measure
from tickd.native import Decoder


def test_the_market_decodes_without_a_refusal() -> None:
    market, decoder = make_market(), Decoder()
    decoder.decode(market.preamble)
    events = sum(len(decoder.decode(burst)) for burst in market.bursts)
    counters = decoder.counters()
    assert counters.get("refused", 0) == 0
    assert counters.get("gaps", 0) == 0
    assert events > len(market.payloads) > 10_000


def test_every_stage_gives_a_figure_and_leaves_nothing(tmp_path: Path) -> None:
    figures = {each.name: each for each in measure(tmp_path, 0.05)}
    assert set(figures) == {"decode", "bus", "raw log", "sink", "loop latency"}
    assert all(each.value > 0 for each in figures.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(2e6, Verdict.OK), (REQUIRED + 1, Verdict.WARN), (REQUIRED - 1, Verdict.FAIL)],
)
def test_a_rate_fails_below_what_is_required(value: float, verdict: Verdict) -> None:
    assert judge(Figure("decode", value, "msg/s", 1e6, "")).verdict is verdict


def test_a_latency_is_never_a_failure() -> None:
    assert judge(Figure("loop", 30.0, "µs", 40.0, "")).verdict is Verdict.OK
    assert judge(Figure("loop", 4_000.0, "µs", 40.0, "")).verdict is Verdict.WARN


def test_a_time_without_end_is_refused(command: Callable[..., Any]) -> None:
    assert command("selftest", "--seconds", "0").code == 2
    assert command("selftest", "--seconds", "61").code == 2
