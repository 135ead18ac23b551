"""Opponents of bench_indicators.py: each indicator as one would write it in Python and in numba.

Each is the shortest way to the value on clean data: no checks of input, no counters, no snapshots,
no guard against residues in buckets; the native ones do all of it. They agree with them on such
data; the benchmark asserts it before it measures.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numba import njit

WINDOW = 100
LEVELS = 10
BUCKET, BUCKETS = 1000.0, 50
SIGMA = 0.01
MU, ALPHA, BETA = 1.0, 2.0, 5.0
MU2, ALPHA2, BETA2 = (1.0, 1.2), ((0.5, 0.2), (0.2, 0.5)), 5.0
(MU_BUY, MU_SELL), ((BUY_BUY, BUY_SELL), (SELL_BUY, SELL_SELL)) = MU2, ALPHA2
BETA_NS, BETA2_NS = BETA * 1e-9, BETA2 * 1e-9
ROOT_2 = math.sqrt(2.0)
Array = Any


class Ofi:
    __slots__ = ("ap", "az", "bp", "bs", "ring", "total")

    def __init__(self) -> None:
        self.bp = math.nan
        self.ring: deque[float] = deque([0.0] * WINDOW)
        self.total = 0.0

    def update(self, bp: float, bs: float, ap: float, az: float) -> float:
        pb = self.bp
        if pb == pb:
            pa, ring = self.ap, self.ring
            e = bs if bp > pb else bs - self.bs if bp == pb else -self.bs
            e += self.az if ap > pa else self.az - az if ap == pa else -az
            ring.append(e)
            self.total += e - ring.popleft()
        self.bp, self.bs, self.ap, self.az = bp, bs, ap, az
        return self.total


class Mlofi:
    __slots__ = ("before", "head", "rings", "totals")

    def __init__(self) -> None:
        self.before: Any = None
        self.rings = [[0.0] * WINDOW for _ in range(LEVELS)]
        self.totals = [0.0] * LEVELS
        self.head = 0

    def update(self, flat: Any) -> float:
        before = self.before
        self.before = flat
        if before is None:
            return math.nan
        head, total, m = self.head, 0.0, 0
        totals, new, old = self.totals, iter(flat), iter(before)
        levels = zip(new, new, new, new, old, old, old, old, self.rings, strict=False)
        for bp, bs, ap, az, pb, ps, pa, pz, ring in levels:
            e = bs if bp > pb else bs - ps if bp == pb else -ps
            e -= -pz if ap > pa else az - pz if ap == pa else az
            e, ring[head] = e - ring[head], e
            totals[m] += e
            total += totals[m]
            m += 1  # noqa: SIM113 - quicker than enumerate around eight names
        self.head = head + 1 if head + 1 < WINDOW else 0
        return total / LEVELS


class Vpin:
    __slots__ = ("imbalance", "left", "ring", "total", "value")

    def __init__(self) -> None:
        self.left, self.imbalance = BUCKET, 0.0
        self.ring: deque[float] = deque()
        self.total, self.value = 0.0, math.nan

    def update(self, price: float, size: float, side: float) -> float:
        while size >= self.left:
            size -= self.left
            self.close(side)
        self.left -= size
        if side > 0:
            self.imbalance += size
        elif side < 0:
            self.imbalance -= size
        return self.value

    def close(self, share: float) -> None:
        """Fill the bucket with what it still needs; `share`: -1 sold to 1 bought."""
        imbalance = abs(self.imbalance + share * self.left)
        self.total += imbalance
        self.ring.append(imbalance)
        if len(self.ring) > BUCKETS:
            self.total -= self.ring.popleft()
        if len(self.ring) == BUCKETS:
            self.value = self.total / (BUCKETS * BUCKET)
        self.left, self.imbalance = BUCKET, 0.0


class VpinBvc(Vpin):
    __slots__ = ("price",)

    def __init__(self) -> None:
        super().__init__()
        self.price = math.nan

    def update(self, price: float, size: float, side: float = 0.0) -> float:
        # Bought less sold is 2 Z(x) - 1 = erf(x / sqrt 2) of the volume.
        share = 0.0
        if self.price == self.price:
            share = math.erf((price - self.price) / (SIGMA * ROOT_2))
        self.price = price
        while size >= self.left:
            size -= self.left
            self.close(share)
        self.left -= size
        self.imbalance += share * size
        return self.value


class Hawkes:
    __slots__ = ("last", "r")

    def __init__(self) -> None:
        self.r, self.last = 0.0, 0

    def update(self, ts_ns: int) -> float:
        self.r = r = self.r * math.exp((self.last - ts_ns) * BETA_NS) + 1.0
        self.last = ts_ns
        return MU + ALPHA * r


class HawkesBivariate:
    __slots__ = ("buys", "last", "sells")

    def __init__(self) -> None:
        self.buys, self.sells, self.last = 0.0, 0.0, 0

    def update(self, ts_ns: int, side: float) -> tuple[float, float]:
        keep = math.exp((self.last - ts_ns) * BETA2_NS)
        self.last = ts_ns
        buys, sells = self.buys * keep, self.sells * keep
        if side > 0:
            buys += 1.0
        else:
            sells += 1.0
        self.buys, self.sells = buys, sells
        return (
            MU_BUY + BUY_BUY * buys + BUY_SELL * sells,
            MU_SELL + SELL_BUY * buys + SELL_SELL * sells,
        )


class Cvd:
    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0.0

    def update(self, price: float, size: float, side: float) -> float:
        self.total += size if side > 0 else -size if side < 0 else 0.0
        return self.total


@njit(inline="always")
def flow(pb, ps, pa, pz, bp, bs, ap, az):
    # Without branches: on random directions twice as fast as with them.
    return (bp >= pb) * bs - (bp <= pb) * ps - (ap <= pa) * az + (ap >= pa) * pz


@njit
def ofi_step(state, ring, bp, bs, ap, az):
    if state[6] > 0:
        e = flow(state[0], state[1], state[2], state[3], bp, bs, ap, az)
        head = int(state[5])
        state[4] += e - ring[head]
        ring[head] = e
        state[5] = head + 1 if head + 1 < len(ring) else 0
    state[6] = 1
    state[0], state[1], state[2], state[3] = bp, bs, ap, az
    return state[4]


@njit
def ofi_batch(bp, bs, ap, az, out):
    ring = np.zeros(WINDOW)
    total, head = 0.0, 0
    out[0] = np.nan
    for i in range(1, len(bp)):
        e = flow(bp[i - 1], bs[i - 1], ap[i - 1], az[i - 1], bp[i], bs[i], ap[i], az[i])
        total += e - ring[head]
        ring[head] = e
        head += 1
        if head == WINDOW:
            head = 0
        out[i] = total if i >= WINDOW else np.nan
    return out


@njit
def mlofi_step(before, rings, totals, state, row):
    head, total = int(state[0]), 0.0
    if state[1] > 0:
        for m in range(LEVELS):
            k = 4 * m
            e = flow(
                before[k], before[k + 1], before[k + 2], before[k + 3],
                row[k], row[k + 1], row[k + 2], row[k + 3],
            )  # fmt: skip
            totals[m] += e - rings[head, m]
            rings[head, m] = e
            total += totals[m]
        state[0] = head + 1 if head + 1 < WINDOW else 0
    state[1] = 1
    before[:] = row
    return total / LEVELS


@njit
def mlofi_batch(books, out):
    before, state = np.zeros(4 * LEVELS), np.zeros(2)
    rings, totals = np.zeros((WINDOW, LEVELS)), np.zeros(LEVELS)
    for i in range(len(books)):
        out[i] = mlofi_step(before, rings, totals, state, books[i])
    return out


@njit
def vpin_step(state, ring, price, size, side):
    share = 1.0 if side > 0 else -1.0 if side < 0 else 0.0
    while size >= state[0]:
        size -= state[0]
        x = abs(state[1] + share * state[0])
        head = int(state[3])
        state[2] += x - ring[head]
        ring[head] = x
        state[3] = head + 1 if head + 1 < BUCKETS else 0
        state[4] += 1
        if state[4] >= BUCKETS:
            state[5] = state[2] / (BUCKETS * BUCKET)
        state[0], state[1] = BUCKET, 0.0
    state[0] -= size
    state[1] += share * size
    return state[5]


@njit(inline="always")
def vpin_rows(price, size, side, out, bulk):
    # The state in locals: in an array it costs three times as much.
    ring, head, closed = np.zeros(BUCKETS), 0, 0
    left, imbalance, total, value = BUCKET, 0.0, 0.0, np.nan
    for i in range(len(price)):
        share = 1.0 if side[i] > 0 else -1.0 if side[i] < 0 else 0.0
        if bulk:
            share = math.erf((price[i] - price[i - 1]) / (SIGMA * ROOT_2)) if i else 0.0
        rest = size[i]
        while rest >= left:
            rest -= left
            x = abs(imbalance + share * left)
            total += x - ring[head]
            ring[head] = x
            head = head + 1 if head + 1 < BUCKETS else 0
            closed += 1
            if closed >= BUCKETS:
                value = total / (BUCKETS * BUCKET)
            left, imbalance = BUCKET, 0.0
        left -= rest
        imbalance += share * rest
        out[i] = value
    return out


@njit
def vpin_batch(price, size, side, out):
    return vpin_rows(price, size, side, out, False)


@njit
def bvc_batch(price, size, side, out):
    return vpin_rows(price, size, side, out, True)


@njit
def hawkes_step(state, last, ts_ns):
    state[0] = state[0] * math.exp(-BETA * ((ts_ns - last[0]) * 1e-9)) + 1.0
    last[0] = ts_ns
    return MU + ALPHA * state[0]


@njit
def hawkes_batch(times, out):
    r, last = 0.0, times[0]
    for i in range(len(times)):
        r = r * math.exp(-BETA * ((times[i] - last) * 1e-9)) + 1.0
        last = times[i]
        out[i] = MU + ALPHA * r
    return out


@njit
def pair_step(state, last, ts_ns, side):
    keep = math.exp(-BETA2 * ((ts_ns - last[0]) * 1e-9))
    last[0] = ts_ns
    buys, sells = state[0] * keep, state[1] * keep
    if side > 0:
        buys += 1.0
    else:
        sells += 1.0
    state[0], state[1] = buys, sells
    return (
        MU2[0] + ALPHA2[0][0] * buys + ALPHA2[0][1] * sells,
        MU2[1] + ALPHA2[1][0] * buys + ALPHA2[1][1] * sells,
    )


@njit
def pair_batch(times, side, out):
    buys, sells, last = 0.0, 0.0, times[0]
    for i in range(len(times)):
        keep = math.exp(-BETA2 * ((times[i] - last) * 1e-9))
        last = times[i]
        buys *= keep
        sells *= keep
        if side[i] > 0:
            buys += 1.0
        else:
            sells += 1.0
        out[i, 0] = MU2[0] + ALPHA2[0][0] * buys + ALPHA2[0][1] * sells
        out[i, 1] = MU2[1] + ALPHA2[1][0] * buys + ALPHA2[1][1] * sells
    return out
