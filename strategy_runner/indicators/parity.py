"""A small corpus through both backends: what differs is not used.

The corpus has what breaks implementations: missing sides, crossed quotes, NaN, ties, backward
time, trades over several buckets, wraps of every window. Quick enough for every start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

ROWS = 72
Row = tuple[Any, ...]
# A deterministic walk without a library's generator: Lehmer's, modulus 2^31 - 1.
_MULTIPLIER, _MODULUS = 48271, 2147483647


def _draws(count: int) -> Iterator[float]:
    state = 20261120
    for _ in range(count):
        state = state * _MULTIPLIER % _MODULUS
        yield state / _MODULUS


def corpus() -> list[dict[str, float]]:
    """Rows of quotes, trades and times; every twelfth is hostile."""
    rows = []
    price, ts = 100.0, 1_763_600_000_000_000_000
    draws = _draws(ROWS * 6)
    for i in range(ROWS):
        a, b, c, d, e, f = (next(draws) for _ in range(6))
        price += round((a - 0.5) * 6) * 0.01
        row = {"bid_price": price - 0.01, "bid_size": b * 9.0, "ask_price": price + 0.01}
        row |= {"ask_size": c * 9.0, "price": price, "size": d * 7.0}
        row |= {"side": float(round(e * 2.0 - 1.0)), "ts_ns": ts}
        hostile = {3: ("bid_size", 0.0), 5: ("ask_price", math.nan), 7: ("size", -1.0)}
        hostile |= {9: ("bid_price", price + 0.05), 11: ("price", math.inf)}
        if i % 12 in hostile:
            row.update([hostile[i % 12]])
        rows.append(row)
        ts += int(f * 2e8) if i % 10 else -5
    return rows


def _cases(m: ModuleType) -> dict[str, tuple[Callable[[], Any], tuple[str, ...]]]:
    """By name: how to make an indicator, and what its `update` takes."""
    quote = ("bid_price", "bid_size", "ask_price", "ask_size", "ts_ns")
    trade = ("price", "size", "side", "ts_ns")
    table = [[-0.01, 0.0, 0.01], [-0.02, 0.0, 0.02]]
    alpha, betas = ((0.4, 0.1), (0.2, 0.3)), ((1.0, 2.0), (1.5, 0.5))
    cases: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
        "Ofi": (lambda: m.Ofi(window=5), quote),
        "Ofi by time": (lambda: m.Ofi(horizon_ns=500_000_000, missing="unknown"), quote),
        "Ofi fading": (lambda: m.Ofi(half_life_ns=300_000_000, skip_crossed=True), quote),
        "Microprice": (lambda: m.Microprice(table, 0.01), quote),
        "Mlofi": (lambda: m.Mlofi(2, window=5), ("book", "ts_ns")),
        "IntegratedOfi": (lambda: m.IntegratedOfi([0.6, -0.3], window=5), ("book", "ts_ns")),
        "Vpin": (lambda: m.Vpin(5.0, 3, ranked=4), trade),
        "Vpin whole trades": (lambda: m.Vpin(5.0, 3, False), trade),
        "VpinFixed": (lambda: m.VpinFixed(5, 3), ("price", "lots", "side", "ts_ns")),
        "VpinBvc": (lambda: m.VpinBvc(5.0, 3, sigma=0.02), trade),
        "VpinBvc estimated": (lambda: m.VpinBvc(5.0, 3, distribution="t025"), trade),
        "TradeFlowImbalance": (lambda: m.TradeFlowImbalance(window=5), trade),
        "KyleLambda": (lambda: m.KyleLambda(5), trade),
        "Amihud": (lambda: m.Amihud(5), trade),
        "Hawkes": (lambda: m.Hawkes(0.5, 1.0, 2.0), ("ts_ns",)),
        "HawkesBivariate": (lambda: m.HawkesBivariate((0.5, 0.6), alpha, 2.0), ("ts_ns", "side")),
        "HawkesBivariate pairs": (
            lambda: m.HawkesBivariate((0.5, 0.6), alpha, betas),
            ("ts_ns", "side"),
        ),
        "EwmaVariance": (lambda: m.EwmaVariance(half_life_ns=10**9), ("price", "ts_ns")),
        "DecayedSum": (lambda: m.DecayedSum(10**9), ("price", "ts_ns")),
        "BvcShare": (m.BvcShare, ("price",)),
        "BookSlope": (lambda: m.BookSlope(2), ("book",)),
        "Cvd": (m.Cvd, trade),
        "TickRule": (m.TickRule, ("price",)),
    }
    for name in ("Mid", "Spread", "SpreadBps", "WeightedMid", "QueueImbalance", "QuoteSlope"):
        cases[name] = (getattr(m, name), quote)
    for name in ("RealizedVariance", "BipowerVariation", "MedRv", "MinRv", "RollSpread"):
        cases[name] = (partial(getattr(m, name), 5), ("price",))
    for name in ("DepthImbalance", "Vamp", "WeightedDepthPrice"):
        cases[name] = (partial(getattr(m, name), 2), ("book",))
    for name in ("QuoteRule", "LeeReady", "Emo", "Clnv"):
        cases[name] = (getattr(m, name), ("price", "bid_price", "ask_price"))
    return cases


def _trace(make: Callable[[], Any], takes: tuple[str, ...], rows: list[Row]) -> bytes:
    """Every value and the last snapshot, as bytes."""
    indicator = make()
    del takes
    values = [indicator.update(*row) for row in rows]
    return np.array(values, dtype=np.float64).tobytes() + bytes(indicator.state())


def _argument(row: dict[str, float], name: str) -> Any:
    if name == "book":
        best = [row[key] for key in ("bid_price", "bid_size", "ask_price", "ask_size")]
        return [*best, best[0] - 0.01, 3.0, best[2] + 0.01, row["bid_size"]]
    return float(math.floor(row["size"])) if name == "lots" else row[name]


def differing(native: ModuleType, twin: ModuleType) -> list[str]:
    """Names of the indicators whose bytes differ."""
    rows = corpus()
    found = []
    twins = _cases(twin)
    for name, (make, takes) in _cases(native).items():
        inputs = [tuple(_argument(row, each) for each in takes) for row in rows]
        if _trace(make, takes, inputs) != _trace(*twins[name], inputs):
            found.append(name)
    return found + _differing_likelihoods(native, twin)


def _differing_likelihoods(native: ModuleType, twin: ModuleType) -> list[str]:
    times = np.array([0, 5, 5, 10**8, 3 * 10**9], dtype=np.int64)
    sides = np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    alpha = ((0.4, 0.1), (0.2, 0.3))
    found = []
    if native.hawkes_path(1.0, 0.5, 2.0, 20 * 10**9, 7) != twin.hawkes_path(
        1.0, 0.5, 2.0, 20 * 10**9, 7
    ):
        found.append("hawkes_path")
    arguments = (times, 4 * 10**9, 0.5, 1.0, 2.0)
    if native.hawkes_log_likelihood(*arguments) != twin.hawkes_log_likelihood(*arguments):
        found.append("hawkes_log_likelihood")
    pair = (times, sides, 4 * 10**9, (0.5, 0.6), alpha, 2.0)
    own = native.hawkes_bivariate_log_likelihood(*pair)
    if own != twin.hawkes_bivariate_log_likelihood(*pair):
        found.append("hawkes_bivariate_log_likelihood")
    residuals = native.hawkes_residuals(times, 0.5, 1.0, 2.0)
    if not np.array_equal(residuals, twin.hawkes_residuals(times, 0.5, 1.0, 2.0)):
        found.append("hawkes_residuals")
    return found
