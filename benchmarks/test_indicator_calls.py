"""The indicators of bench_indicators.py as pytest-benchmark tells them: min, median and spread.

One round is 20,000 calls, or 200,000 rows of columns, the loop over the rows included. The ratios
that are published, with the loop subtracted and the opponents' answers compared, are those of
bench_indicators.py; here a change is looked at, with --benchmark-save and --benchmark-compare.

Run: PYTHONPATH=benchmarks pytest --dist=no benchmarks/test_indicator_calls.py
"""

from __future__ import annotations

from functools import partial
from typing import Any

import bench_indicators as bench
import pytest

ROUNDS = 10
WHO = {"native": bench.MAKE, "python": bench.PYTHON, "numba": bench.NUMBA}
CALLS = [(name, who) for name in bench.FEEDS for who, made in WHO.items() if name in made]


@pytest.mark.parametrize(("name", "who"), CALLS)
def test_calls(benchmark: Any, name: str, who: str) -> None:
    benchmark.group = f"{bench.TITLES.get(name, name)}: {bench.STREAM:,} calls"
    call, data = bench.FEEDS[name]
    if (name, who) == ("mlofi", "python"):
        data = bench.LISTS
    make = WHO[who][name]

    def setup() -> tuple[tuple[Any, Any], dict[str, Any]]:
        made = make()
        return (made if who == "numba" else made.update, data), {}

    benchmark.pedantic(call, setup=setup, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("name", bench.BATCHES)
@pytest.mark.parametrize("run", [bench.answers, bench.opponents], ids=["native", "numba"])
def test_columns(benchmark: Any, name: str, run: Any) -> None:
    benchmark.group = f"{bench.TITLES[name]}: {bench.COLUMNS:,} rows of columns"
    benchmark.pedantic(partial(run, name), rounds=ROUNDS, warmup_rounds=1)
