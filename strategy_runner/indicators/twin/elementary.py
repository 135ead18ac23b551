"""exp, ln and distribution functions from basic IEEE operations, in the native module's order.

Python floats are the same doubles, so every result has the same bits as native/core's. It does not
call the C library's functions: their last bits depend on the CPU.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

LN_2 = 0.6931471805599453
_LN2_HIGH = 0.6931471796706319  # 30 bits: a multiple below 2^22 is exact
_LN2_LOW = 8.893134238886677e-10
_STEP_HIGH = _LN2_HIGH / 128.0
_STEP_LOW = _LN2_LOW / 128.0
_STEPS_PER_UNIT = 184.6649652337873
# 1.5 * 2^52: adding and taking it away rounds to an integer.
_ROUNDER = 6755399441055744.0
_EXP_MIN = -708.0
_HALF_ROOT = 0.7071067811865476
_PRECISION = 60


def _powers() -> list[tuple[float, float]]:
    """2^(i/128) as (nearest double, relative rest)."""
    with localcontext() as context:
        context.prec = _PRECISION
        exact = [(Decimal(2).ln() * i / 128).exp() for i in range(128)]
        return [(float(e), float((e - Decimal(float(e))) / Decimal(float(e)))) for e in exact]


_POWERS = _powers()


def exp_decay(x: float) -> float:
    """e^x for x <= 0; 0 where the result would leave the normal numbers."""
    if x < _EXP_MIN:
        return 0.0
    steps = (x * _STEPS_PER_UNIT + _ROUNDER) - _ROUNDER
    index = int(steps)
    r = (x - steps * _STEP_HIGH) - steps * _STEP_LOW
    square = r * r
    rest = r + square * ((0.5 + r * (1.0 / 6.0)) + square * (1.0 / 24.0 + r * (1.0 / 120.0)))
    head, tail = _POWERS[index & 127]
    return (head + head * (tail + rest)) * math.ldexp(1.0, index >> 7)


def one_less_exp(y: float) -> float:
    """1 - e^-y for y >= 0, without cancellation for small y."""
    if y > 0.25:
        return 1.0 - exp_decay(-y)
    total = 1.0 / 13.0
    for k in range(12, 0, -1):
        total = (1.0 - y * total) / k
    return y * total


def ln(x: float) -> float:
    """Ln x for x > 0; -inf at 0, NaN below, inf at inf."""
    if not 0.0 < x < math.inf:
        return -math.inf if x == 0.0 else x if x == math.inf else math.nan
    mantissa, exponent = math.frexp(x)
    if mantissa < _HALF_ROOT:
        mantissa *= 2.0
        exponent -= 1
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = 0.0
    for k in range(11, 0, -1):
        series = (series + 2.0 / (2 * k + 1)) * z
    half = 0.5 * f * f
    e = float(exponent)
    return e * _LN2_HIGH - ((half - (s * (half + series) + e * _LN2_LOW)) - f)


_FRAC_1_SQRT_2PI = 0.3989422804014327
_CELLS = 137
_TERMS = 11
_CELLS_PER_UNIT = 16.0


def _lower_tail(a: float) -> float:
    """Z(-a) for a >= 0: a series near 0, a continued fraction (Laplace) in the tail."""
    density = _FRAC_1_SQRT_2PI * exp_decay(-0.5 * a * a)
    if a < 3.0:
        term, total = a, a
        for k in range(1, 60):
            term = term * a * a / (2 * k + 1)
            total += term
        return 0.5 - density * total
    fraction = a
    for k in range(64, 0, -1):
        fraction = a + k / fraction
    return density / fraction


@cache
def _row(cell: int) -> list[float]:
    """Taylor coefficients of h -> Z(-(cell/16 + h)) at h = 0."""
    a = cell / _CELLS_PER_UNIT
    row = [_lower_tail(a)]
    before, hermite, factor = 0.0, 1.0, -(_FRAC_1_SQRT_2PI * exp_decay(-0.5 * a * a))
    for k in range(1, _TERMS):
        factor /= k
        row.append(factor * hermite)
        factor = -factor
        before, hermite = hermite, a * hermite - (k - 1) * before
    return row


def normal(x: float) -> float:
    """Z(x), the standard normal distribution function."""
    a = abs(x)
    if a >= 8.5:
        tail = _lower_tail(a) if a < 38.0 else 0.0
        return tail if x < 0.0 else 1.0 - tail
    cell = (a * _CELLS_PER_UNIT + _ROUNDER) - _ROUNDER
    h = a - cell / _CELLS_PER_UNIT
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 = _row(int(cell))
    h2 = h * h
    h4 = h2 * h2
    low = (c0 + c1 * h) + h2 * (c2 + c3 * h)
    middle = (c4 + c5 * h) + h2 * (c6 + c7 * h)
    high = (c8 + c9 * h) + h2 * c10
    tail = low + h4 * (middle + h4 * high)
    return tail if x < 0.0 else 1.0 - tail


_BETA_INVERSE = 0.10742591787873508  # 1 / B(1/8, 1/2)


def _beta_series(y: float, a: float, b: float) -> float:
    factor, total = 1.0, 1.0 / a
    for n in range(1, 56):
        factor = factor * y * (n - b) / n
        total += factor / (a + n)
    return total


def student_quarter(x: float) -> float:
    """Student's t distribution function with 0.25 degrees of freedom."""
    square = x * x
    if not square < math.inf:
        tail = 0.0
    else:
        whole = 0.25 + square
        y, other = 0.25 / whole, square / whole
        if y <= 0.5:
            eighth = math.sqrt(math.sqrt(math.sqrt(y)))
            tail = 0.5 * (_BETA_INVERSE * eighth * _beta_series(y, 0.125, 0.5))
        else:
            root = math.sqrt(other)
            tail = 0.5 - 0.5 * (_BETA_INVERSE * root * _beta_series(other, 0.5, 0.125))
    return tail if x < 0.0 else 1.0 - tail
