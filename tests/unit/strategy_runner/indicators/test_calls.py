"""`update` takes numbers as Python has them, by place or by name, and refuses the rest in words."""

from __future__ import annotations

import inspect
import threading
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest

from strategy_runner.indicators.backend import load

NATIVE = load("native")


class Half(float):
    """A float that is not exactly one."""


@pytest.fixture(params=["native", "numpy"])
def m(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


@pytest.mark.parametrize(
    "row",
    [
        (100, 5, 101, 7, 9),
        (np.float64(100), np.float64(5), np.float64(101), np.float64(7), np.int64(9)),
        (np.int64(100), np.int8(5), np.float32(101), Half(7), 9),
        (Fraction(100), Half(5), 101.0, True * 7, np.uint8(9)),
    ],
)
def test_any_number_is_one(m: ModuleType, row: tuple[float, ...]) -> None:
    plain, other, named = (m.Ofi(horizon_ns=5) for _ in range(3))
    plain.update(100.0, 5.0, 101.0, 7.0, 9)
    other.update(*row)
    words = ("bid_price", "bid_size", "ask_price", "ask_size", "ts_ns")
    named.update(**dict(zip(words, row, strict=True)))
    assert plain == other == named


def test_what_is_not_given_has_its_default(m: ModuleType) -> None:
    assert m.Hawkes(0.5, 1.0, 2.0).update(5) == 1.5
    assert m.Hawkes(0.5, 1.0, 2.0).update(5, mark=0.5) == 1.0
    bulk, same = m.VpinBvc(1.0, 1), m.VpinBvc(1.0, 1)
    assert bulk.update(1.0, 3.0) == same.update(1.0, 3.0, 1, 0) == 0.0
    late, early = m.Ofi(horizon_ns=5), m.Ofi(horizon_ns=5)
    late.update(1.0, 2.0, 3.0, 4.0)
    early.update(1.0, 2.0, 3.0, 4.0, ts_ns=0)
    assert late == early


@pytest.mark.parametrize(
    ("arguments", "named", "error"),
    [
        ((1.0, 2.0, 3.0), {}, "ask_size"),
        ((1.0, 2.0, 3.0, 4.0, 5, 6), {}, "6 were given"),
        ((1.0, 2.0, 3.0, "4"), {}, "real number"),
        ((1.0, 2.0, 3.0, None), {}, "real number"),
        ((1.0, 2.0, 3.0, 4.0, 5.5), {}, "integer"),
        ((1.0, 2.0, 3.0, 4.0), {"when": 5}, "when"),
        ((1.0, 2.0, 3.0, 4.0), {"ask_size": 5.0}, "ask_size"),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(
    arguments: tuple[float, ...], named: dict[str, float], error: str
) -> None:
    ofi = NATIVE.Ofi()
    with pytest.raises(TypeError, match=error):
        ofi.update(*arguments, **named)
    with pytest.raises(OverflowError):
        ofi.update(10**400, 1.0, 2.0, 1.0)
    with pytest.raises(OverflowError):
        ofi.update(1.0, 1.0, 2.0, 1.0, 1 << 63)
    with pytest.raises(TypeError):
        NATIVE.Ofi.update(NATIVE.Mid(), 1.0, 1.0, 2.0, 1.0)
    assert ofi == NATIVE.Ofi()


def test_minus_one_is_a_number_and_a_time(m: ModuleType) -> None:
    ofi = m.Ofi(horizon_ns=5)
    ofi.update(-1, 1, -1.0, 1.0, -1)
    assert (ofi.count, ofi.n_crossed, ofi.n_skipped) == (1, 1, 0)
    assert m.Hawkes(0.5, 1.0, 2.0).update(-1) == 1.5


def test_sides_beyond_64_bits_say_nothing() -> None:
    vpin = NATIVE.Vpin(1.0, 1)
    vpin.update(1.0, 1.0, 1 << 70)
    assert vpin.n_skipped == 1


@pytest.mark.parametrize("name", ["Ofi", "Vpin", "VpinBvc", "Hawkes", "LeeReady", "TickRule"])
def test_both_backends_have_the_same_signature(name: str) -> None:
    own, twin = (
        inspect.signature(getattr(load(each), name).update) for each in ("native", "numpy")
    )
    assert list(own.parameters) == list(twin.parameters)


def test_an_indicator_inside_a_batch_of_another_thread_is_in_use() -> None:
    """The batch runs without the GIL; a second caller gets an error, not half a state."""
    ofi, rows = NATIVE.Ofi(window=1000), np.full(3_000_000, 5.0)
    began = threading.Event()

    def work() -> None:
        began.set()
        for _ in range(20):
            ofi.update_many(rows, rows, rows + 1.0, rows)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    refused = 0
    while thread.is_alive():
        try:
            ofi.count  # noqa: B018 - the question is the test
        except RuntimeError as error:
            assert "in use" in str(error)  # noqa: PT017 - it may or may not be raised
            refused += 1
    thread.join()
    assert refused > 0
    assert ofi.count == 20 * len(rows)
