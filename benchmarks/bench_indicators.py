"""Indicators per call and per column, against plain Python, numba and wickra in one run.

Streams: ns per call, the loop over the rows subtracted. Columns: ns per row. Before anything is
measured, all opponents' last values must agree. `floor` is the cheapest native call with three
floats in and one out (CVD), against the same body in Python. `set`: the recorded messages in bursts
of 64 through an `IndicatorSet` of eleven indicators, ns per event and per value. Needs
the extra `oracles`.

Run: python benchmarks/bench_indicators.py [--rounds 10]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import harness
import messages
import naive_indicators as naive
import numpy as np
import wickra
from harness import Case, Cost, Figure, least

from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.indicators.indicator_set import IndicatorSet
from tickd import native

# Rows of streams repeat, few enough to stay in the cache, as what was just decoded does.
STREAM, HOT, COLUMNS = 20_000, 2_000, 200_000
random = np.random.default_rng(20261120)
mid = 100.0 + np.cumsum(random.integers(-1, 2, COLUMNS)) * 0.01
BID, ASK = mid - 0.01, mid + 0.01
BID_SIZE, ASK_SIZE, SIZE = random.integers(1, 50, (3, COLUMNS)).astype(np.float64)
PRICE, SIDE = mid, random.choice([-1.0, 1.0], COLUMNS)
TIMES = np.cumsum(random.integers(1, 2_000_000, COLUMNS))
BOOKS = np.empty((COLUMNS, 4 * naive.LEVELS))
for m in range(naive.LEVELS):
    BOOKS[:, 4 * m], BOOKS[:, 4 * m + 2] = BID - 0.01 * m, ASK + 0.01 * m
    BOOKS[:, 4 * m + 1 :: 4 * naive.LEVELS] = random.integers(1, 50, (COLUMNS, 1))
    BOOKS[:, 4 * m + 3 :: 4 * naive.LEVELS] = random.integers(1, 50, (COLUMNS, 1))
QUOTE_COLUMNS = (BID, BID_SIZE, ASK, ASK_SIZE)
TRADE_COLUMNS = (PRICE, SIZE, SIDE)
Update = Callable[..., Any]


def rows(*columns: Any) -> list[tuple[Any, ...]]:
    hot = list(zip(*(column[:HOT].tolist() for column in columns), strict=True))
    return hot * (STREAM // HOT)


QUOTES, TRADES = rows(*QUOTE_COLUMNS), rows(*TRADE_COLUMNS)
EVENTS = TIMES[:STREAM].tolist()
SIDED = list(zip(EVENTS, SIDE[:STREAM].astype(np.int64).tolist(), strict=True))
BUFFERS = list(BOOKS[:HOT]) * (STREAM // HOT)
LISTS = BOOKS[:HOT].tolist() * (STREAM // HOT)
LISTED = [([a], [b], [c], [d]) for a, b, c, d in QUOTES]
BOUGHT = [(p, v, s > 0) for p, v, s in TRADES]


def call1(update: Update, data: Iterable[Any]) -> None:
    for a in data:
        update(a)


def call2(update: Update, data: Iterable[Any]) -> None:
    for a, b in data:
        update(a, b)


def call3(update: Update, data: Iterable[Any]) -> None:
    for a, b, c in data:
        update(a, b, c)


def call4(update: Update, data: Iterable[Any]) -> None:
    for a, b, c, d in data:
        update(a, b, c, d)


def loop1(data: Iterable[Any]) -> None:
    for _ in data:
        pass


def loop2(data: Iterable[Any]) -> None:
    for _a, _b in data:
        pass


def loop3(data: Iterable[Any]) -> None:
    for _a, _b, _c in data:
        pass


def loop4(data: Iterable[Any]) -> None:
    for _a, _b, _c, _d in data:
        pass


LOOPS = {call1: loop1, call2: loop2, call3: loop3, call4: loop4}


def stream(call: Callable[..., None], make: Callable[[], Update], data: Any) -> Cost:
    update = make()
    began = time.process_time_ns()
    call(update, data)
    spent = time.process_time_ns() - began
    began = time.process_time_ns()
    LOOPS[call](data)
    return Cost(max(spent - (time.process_time_ns() - began), 1), STREAM)


def column(run: Callable[[], object]) -> Cost:
    began = time.process_time_ns()
    run()
    return Cost(time.process_time_ns() - began, COLUMNS)


def numba_step(step: Update, *state: Any) -> Callable[[], Update]:
    def make() -> Update:
        return partial(step, *(np.copy(each) for each in state))

    return make


def vpin_state() -> tuple[Any, Any]:
    state = np.zeros(6)
    state[0], state[5] = naive.BUCKET, np.nan
    return state, np.zeros(naive.BUCKETS)


MAKE: dict[str, Callable[[], Any]] = {
    "ofi": lambda: native.Ofi(window=naive.WINDOW),
    "mlofi": lambda: native.Mlofi(naive.LEVELS, window=naive.WINDOW),
    "vpin": lambda: native.Vpin(naive.BUCKET, naive.BUCKETS),
    "bvc": lambda: native.VpinBvc(naive.BUCKET, naive.BUCKETS, sigma=naive.SIGMA),
    "hawkes": lambda: native.Hawkes(naive.MU, naive.ALPHA, naive.BETA),
    "pair": lambda: native.HawkesBivariate(naive.MU2, naive.ALPHA2, naive.BETA2),
    "floor": native.Cvd,
}
PYTHON: dict[str, Callable[[], Any]] = {
    "ofi": naive.Ofi,
    "mlofi": naive.Mlofi,
    "vpin": naive.Vpin,
    "bvc": naive.VpinBvc,
    "hawkes": naive.Hawkes,
    "pair": naive.HawkesBivariate,
    "floor": naive.Cvd,
}
FEEDS: dict[str, tuple[Callable[..., None], Any]] = {
    "ofi": (call4, QUOTES),
    "mlofi": (call1, BUFFERS),
    "vpin": (call3, TRADES),
    "bvc": (call3, TRADES),
    "hawkes": (call1, EVENTS),
    "pair": (call2, SIDED),
    "floor": (call3, TRADES),
}
NUMBA: dict[str, Callable[[], Update]] = {
    "ofi": numba_step(naive.ofi_step, np.zeros(7), np.zeros(naive.WINDOW)),
    "mlofi": numba_step(
        naive.mlofi_step,
        np.zeros(4 * naive.LEVELS),
        np.zeros((naive.WINDOW, naive.LEVELS)),
        np.zeros(naive.LEVELS),
        np.zeros(2),
    ),
    "vpin": numba_step(naive.vpin_step, *vpin_state()),
    "hawkes": numba_step(naive.hawkes_step, np.zeros(1), TIMES[:1]),
    "pair": numba_step(naive.pair_step, np.zeros(2), TIMES[:1]),
}
OUT, OUT2 = np.empty(COLUMNS), np.empty((COLUMNS, 2))
BATCHES: dict[str, tuple[tuple[Any, ...], Update]] = {
    "ofi": (QUOTE_COLUMNS, naive.ofi_batch),
    "mlofi": ((BOOKS,), naive.mlofi_batch),
    "vpin": (TRADE_COLUMNS, naive.vpin_batch),
    "bvc": (TRADE_COLUMNS, naive.bvc_batch),
    "hawkes": ((TIMES,), naive.hawkes_batch),
    "pair": ((TIMES, SIDE), naive.pair_batch),
}
# Ratios at least: stream against Python, stream against numba, columns against the Python stream,
# columns against numba's columns.
BUDGETS: dict[str, tuple[float | None, float | None, float | None, float | None]] = {
    "ofi": (5.0, 6.5, 60.0, 0.7),
    "mlofi": (9.0, 2.0, 50.0, 2.5),
    "vpin": (3.3, 4.0, 15.0, 0.8),
    "bvc": (3.6, None, 11.0, 0.8),
    "hawkes": (2.7, 3.5, 18.0, 0.85),
    "pair": (2.7, 2.2, 25.0, 0.8),
}
TITLES = {
    "ofi": "OFI, last 100",
    "mlofi": "MLOFI, 10 levels",
    "vpin": "VPIN, signed",
    "bvc": "VPIN, bulk classification",
    "hawkes": "Hawkes",
    "pair": "Hawkes, buys and sells",
}


def configured(name: str, topics: str, **params: Any) -> IndicatorConfig:
    return IndicatorConfig(name=name, kind=name, topics=(f"{topics}.*.*",), params=params)


SET = (
    configured("ofi", "quote", window=naive.WINDOW),
    configured("mid", "quote"),
    configured("weighted_mid", "quote"),
    configured("queue_imbalance", "quote"),
    configured("ewma_variance", "quote", half_life_ns=1_000_000_000),
    configured("vpin", "trade", bucket_volume=10.0, buckets=50),
    configured("cvd", "trade"),
    configured("hawkes", "trade", mu=1.0, alpha=2.0, beta=5.0),
    configured("kyle_lambda", "trade", window=100),
    configured("mlofi", "depth", levels=naive.LEVELS, window=naive.WINDOW),
    configured("depth_imbalance", "depth", levels=naive.LEVELS),
)
SETS = {"indicators": SET, "indicators without books": SET[:9]}


class Recorded:
    """The wire, decoded in bursts, and sets that take it."""

    def __init__(self) -> None:
        wire = messages.load()
        self.origin = wire.origin
        self.decoder = native.Decoder()
        definitions, snapshot = messages.preamble(wire)
        self.decoder.decode(definitions)
        bursts = messages.bursts(wire.lines, 64)
        self.batches = [self.decoder.decode(part) for part in (snapshot, *bursts)]
        self.events = sum(map(len, self.batches))

    def made(self, configs: tuple[IndicatorConfig, ...]) -> IndicatorSet:
        decoder = self.decoder
        made = IndicatorSet(
            configs, topic_name=decoder.topic_name, intern_topic=decoder.intern_topic
        )
        for number, definition in decoder.instruments():
            made.define(number, definition)
        return made

    def play(self, configs: tuple[IndicatorConfig, ...]) -> Cost:
        signals = self.made(configs).signals
        began = time.process_time_ns()
        for batch in self.batches:
            signals(batch)
        return Cost(time.process_time_ns() - began, self.events)

    def values(self, configs: tuple[IndicatorConfig, ...]) -> int:
        made = self.made(configs)
        for batch in self.batches:
            made.signals(batch)
        return made.values_count


def recorded_figures(ns: dict[str, float], recorded: Recorded) -> list[Figure]:
    """With books, whose levels are most of the wire and of the work, and without."""
    figures = []
    for name, configs in SETS.items():
        values, text = recorded.values(configs), f"set of {len(configs)} {name}"
        spent = ns[f"set.{name}"] * recorded.events
        figures += [
            Figure(
                f"indicators.set.{len(configs)}.event",
                spent / recorded.events,
                "ns",
                f"{text}: an event of the {recorded.origin}",
            ),
            Figure(
                f"indicators.set.{len(configs)}.value", spent / values, "ns", f"{text}: a value"
            ),
        ]
    return figures


def answers(name: str) -> Any:
    out = OUT2 if name == "pair" else OUT
    return MAKE[name]().update_many(*BATCHES[name][0], out=out)


def opponents(name: str) -> Any:
    inputs, run = BATCHES[name]
    return run(*inputs, np.empty_like(OUT2 if name == "pair" else OUT))


def check() -> None:
    """Everybody computes the same, or nothing is measured."""
    for name in BATCHES:
        own = answers(name)
        assert np.allclose(own[-1], opponents(name)[-1], rtol=1e-9), name
        python, (_, data) = PYTHON[name](), FEEDS[name]
        for row in data[:HOT]:
            value = python.update(*row) if isinstance(row, tuple) else python.update(row)
        assert np.allclose(value, own[HOT - 1], rtol=1e-9, equal_nan=True), name


def cases() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for name, (call, data) in FEEDS.items():
        makes = {"native": MAKE[name], "python": PYTHON[name]}
        if name == "mlofi":
            # Plain Python reads lists faster than arrays.
            found["mlofi.list"] = partial(stream, call, lambda: MAKE["mlofi"]().update, LISTS)
        for who, make in makes.items():
            feed = LISTS if (name, who) == ("mlofi", "python") else data
            found[f"{name}.{who}"] = partial(stream, call, lambda make=make: make().update, feed)
        if name in NUMBA:
            found[f"{name}.numba"] = partial(stream, call, NUMBA[name], data)
    for name in BATCHES:
        found[f"{name}.columns"] = partial(column, partial(answers, name))
        found[f"{name}.columns.numba"] = partial(column, partial(opponents, name))
    vpin = partial(wickra.Vpin, naive.BUCKET, naive.BUCKETS)
    found["vpin.wickra"] = partial(stream, call3, lambda: vpin().update, BOUGHT)
    ofi = partial(wickra.OrderFlowImbalance, naive.WINDOW)
    found["ofi.wickra"] = partial(stream, call4, lambda: ofi().update, LISTED)
    return found


def ratios(ns: dict[str, float]) -> list[Figure]:
    figures = []

    def compare(key: str, of: str, to: str, text: str, least_ratio: float | None) -> None:
        figure = Figure(
            f"indicators.{key}", ns[to] / ns[of], "x", text, least=least_ratio, checked=True
        )
        figures.append(figure)

    for name, title in TITLES.items():
        python, numba, columns, numba_columns = BUDGETS[name]
        own, batch = f"{name}.native", f"{name}.columns"
        compare(f"{name}.python", own, f"{name}.python", f"{title}: a call against Python", python)
        if name in NUMBA:
            text = f"{title}: a call against numba"
            compare(f"{name}.numba", own, f"{name}.numba", text, numba)
        text = f"{title}: a row of columns against a Python call"
        compare(f"{name}.columns.python", batch, f"{name}.python", text, columns)
        text = f"{title}: a row of columns against numba"
        compare(f"{name}.columns.numba", batch, f"{batch}.numba", text, numba_columns)
    text = "MLOFI, 10 levels: a call with a list against Python"
    compare("mlofi.list", "mlofi.list", "mlofi.python", text, 3.5)
    compare("vpin.wickra", "vpin.native", "vpin.wickra", "VPIN: a call against wickra", 1.4)
    compare("ofi.wickra", "ofi.native", "ofi.wickra", "OFI: a call against wickra", 7.0)
    text = "floor: three floats in, one out, against the same Python method"
    compare("floor", "floor.native", "floor.python", text, 1 / 0.65)
    return figures


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    check()
    recorded = None if options.checked else Recorded()
    sets: dict[str, Case] = {}
    if recorded is not None:
        sets = {f"set.{name}": partial(recorded.play, configs) for name, configs in SETS.items()}
    ns = least(cases() | sets, options.rounds)
    figures = []
    if recorded is not None:
        figures = recorded_figures({name: ns.pop(name) for name in sets}, recorded)
        for name, cost in ns.items():
            what = "a row of columns" if ".columns" in name else "a call"
            figures.append(Figure(f"indicators.ns.{name}", cost, "ns", f"{name}: {what}"))
    harness.show([*figures, *ratios(ns)], as_json=options.json)


if __name__ == "__main__":
    main()
