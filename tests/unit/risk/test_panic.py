"""Cancelling without a daemon: all accounts at once, and what is not certain is no success."""

from __future__ import annotations

import asyncio

import pytest

from risk.errors import BrokerError
from risk.panic import Outcome, all_cancelled, cancel_everywhere, described
from tickd.testing.loop import run_virtual


async def none_left() -> int:
    return 0


async def none_left_later() -> int:
    """Still asking when the others break."""
    await asyncio.sleep(5)
    return 0


async def two_left() -> int:
    return 2


async def refused() -> int:
    raise BrokerError("not reachable")


async def broken() -> int:
    raise ConnectionResetError("reset by peer")


async def buggy() -> int:
    raise KeyError("orderId")


class PanicException(BaseException):
    """What an SDK in Rust raises, by the name that PyO3 gives it."""


async def panicking() -> int:
    raise PanicException("called `Option::unwrap()` on a `None` value")


async def for_ever() -> int:
    await asyncio.Event().wait()
    return 0


def test_every_account_is_asked_whatever_the_others_do() -> None:
    accounts = [
        ("a", for_ever),
        ("b", refused),
        ("c", two_left),
        ("d", none_left),
        ("e", broken),
        ("f", buggy),
        ("g", panicking),
        ("h", none_left_later),
    ]
    outcomes = run_virtual(cancel_everywhere(accounts, deadline_s=20.0))
    assert [(each.account, each.left) for each in outcomes] == [
        ("a", None),
        ("b", None),
        ("c", 2),
        ("d", 0),
        ("e", None),
        ("f", None),
        ("g", None),
        ("h", 0),
    ]
    assert described(outcomes) == [
        "a: COULD NOT ASK: no answer within 20 s",
        "b: COULD NOT ASK: not reachable",
        "e: COULD NOT ASK: reset by peer",
        "f: COULD NOT ASK: KeyError('orderId')",
        "g: COULD NOT ASK: PanicException('called `Option::unwrap()` on a `None` value')",
        "c: 2 ORDERS ARE LEFT",
        "d: cancelled, nothing is left",
        "h: cancelled, nothing is left",
    ]
    assert not all_cancelled(outcomes)


def test_who_cancels_the_asking_itself_is_obeyed() -> None:
    async def given_up() -> None:
        async with asyncio.timeout(1):
            await cancel_everywhere([("a", for_ever)], deadline_s=20.0)

    with pytest.raises(TimeoutError):
        run_virtual(given_up())


def test_accounts_are_asked_at_once() -> None:
    async def slow() -> int:
        await asyncio.sleep(9)
        return 0

    async def asked() -> float:
        began = asyncio.get_running_loop().time()
        outcomes = await cancel_everywhere([(str(number), slow) for number in range(50)])
        assert all_cancelled(outcomes)
        return asyncio.get_running_loop().time() - began

    assert run_virtual(asked()) == pytest.approx(9)  # virtual seconds


@pytest.mark.parametrize(
    ("outcomes", "good"),
    [
        ([], False),
        ([Outcome(account="a", left=0)], True),
        ([Outcome(account="a", left=0), Outcome(account="b", left=1)], False),
        ([Outcome(account="a", left=None, fault="x"), Outcome(account="b", left=0)], False),
    ],
)
def test_only_certainty_is_success(outcomes: list[Outcome], good: bool) -> None:
    assert all_cancelled(outcomes) is good
    assert described(outcomes)
