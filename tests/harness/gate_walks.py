"""Random walks over both gates: every operation, hostile numbers, the same answers demanded.

A walk is made of a seed or of hypothesis' own choices; both gates get the same calls and each
answer is compared, with the refusal's whole record. What the gates hold is compared as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from risk.gate_terms import (
    NONE,
    AccountLimits,
    CellLimits,
    Core,
    SideLimits,
    StrategyLimits,
)
from risk.gate_twin import GateTwin
from tests.harness.gates import Word, quotes, trades
from tickd.events import Flag
from tickd.native import GateCore

ROUTES = ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (1, 1, 2))
CELLS = 8
INT64_MAX = (1 << 63) - 1
# What no order has and somebody sends all the same.
HOSTILE = (float("nan"), float("inf"), "7", True, 1.0, INT64_MAX, -INT64_MAX, 1 << 70, -(1 << 64))


class Pair:
    """Both gates, driven alike."""

    def __init__(self, orders_max: int = 24) -> None:
        self.word = Word()
        self.cores: tuple[Core, Core] = (
            GateCore(self.word, orders_max),
            GateTwin(self.word, orders_max),
        )
        self.now, self.wall, self.number = 1_000_000, 1_000_000, 0
        self.live: list[int] = []
        self.stamp = 0  # of the last approval
        self.approved = 0
        self.reasons: Counter[int] = Counter()

    def tell(self, name: str, *arguments: Any) -> Any:
        native, twin = (self._one(core, name, arguments) for core in self.cores)
        assert native == twin, (name, arguments, native, twin)
        return native

    @staticmethod
    def _one(core: Core, name: str, arguments: Sequence[Any]) -> Any:
        try:
            answer = getattr(core, name)(*arguments)
        except (OverflowError, TypeError) as error:
            return type(error)
        if name.startswith("check") and answer < 0:
            return (answer, core.denial())
        return answer

    def refused(self, vector: int) -> None:
        """Count every check that failed."""
        self.reasons.update(bit for bit in range(vector.bit_length()) if vector >> bit & 1)

    def same_state(self) -> None:
        for route in range(len(ROUTES)):
            self.tell("position", route)
        for cell in range(CELLS):
            self.tell("cell", cell)
        for party in range(2):
            self.tell("peak", party)
            self.tell("is_stopped", party)


class Walk:
    """One walk; `pick(n)` is below n, and where the choices come from."""

    def __init__(self, pick: Callable[[int], int]) -> None:
        self.pick = pick
        # How rarely a limit is given: with all of them, hardly an order passes.
        self.ease = self.among([2, 8, 30])
        self.pair = Pair(24 if pick(4) else 3)
        self._set_up()

    def among(self, values: Sequence[Any]) -> Any:
        return values[self.pick(len(values))]

    def limit(self, *values: int) -> int:
        """A limit that mostly lets something through."""
        return int(self.among(values)) if not self.pick(self.ease) else NONE

    def _set_up(self) -> None:
        tell = self.pair.tell
        tell("settings", 8_000, 2_000, 200_000, 2)
        for index in range(3 if self.pick(5) else 2):
            self._define(index)
        for index in range(2):
            self._account(index)
            self._strategy(index)
            self._venue(index)
        for index in range(len(ROUTES)):
            self._route(index)
        for account in range(2):
            if self.pick(8):
                tell("money", account, 10_000_000, 10_000_000, self.pair.now)
                tell("day_pnl", account, NONE, 0)
        if self.pick(8):
            rows = [(100 + each, 1_000, 1_000) for each in range(3)]
            tell("take", quotes(rows, self.pair.now), self.pair.now)

    def _define(self, index: int) -> None:
        num, div = self.among(
            [(1, 1), (1, 100), (50, 3), (INT64_MAX, 1)] if not self.pick(6) else [(1, 100), (7, 10)]
        )
        is_linear = int(self.pick(30) > 0)
        tick, lot = self.among([(1, 1), (5, 1), (2, 3)])
        self.pair.tell("instrument", index, 100 + index, tick, lot, num, div, is_linear)

    def _account(self, index: int) -> None:
        limits = AccountLimits(
            int(not self.pick(40)),
            self.limit(500, 5_000),
            self.limit(1_000, 10_000),
            self.limit(0, 9_000_000),
            self.limit(3_000, 100_000),
        )
        self.pair.tell("account", index, limits)

    def _strategy(self, index: int) -> None:
        limits = StrategyLimits(
            int(not self.pick(40)),
            self.limit(2, 5),
            self.among([500, 5_000]),
            self.limit(20, 100),
        )
        self.pair.tell("strategy", index, limits)

    def _venue(self, index: int) -> None:
        most = self.limit(0, 5, 40, 400)
        most = 10_000 if most == NONE and self.pick(30) else most
        cancels = NONE if most == NONE else max(1, most // 5)
        self.pair.tell("venue", index, most, cancels, self.among([1_000, 20_000]))

    def _side(self) -> SideLimits:
        rare = self.pick
        return SideLimits(
            int(not rare(40)),
            int(rare(40) > 0),
            int(not rare(40)),
            rare(2),
            self.limit(10, 60, 1_000),
            self.limit(100, 2_000, 100_000),
            self.limit(50, 500, 5_000),
            self.limit(200, 3_000),
            self.limit(500, 5_000, 50_000),
            self.limit(100, 2_000),
            self.among([0, 10, 100, 150]),
            self.limit(100, 1_000),
        )

    def _cell(self) -> CellLimits:
        return CellLimits(
            self.limit(20, 100, 500),
            self.limit(200, 5_000, 50_000),
            self.limit(200, 5_000, 50_000),
            self.limit(1, 3, 10),
            self.limit(0, 3, 10, 100),
            self.among([1_000, 10_000]),
        )

    def _route(self, index: int) -> None:
        account, strategy, instrument = ROUTES[index]
        # The cell of account and instrument, that of everything, and one more.
        own = {(0, 0): 1, (1, 0): 2, (0, 1): 3, (1, 2): 4}[account, instrument]
        cells = [own, 0, *([5 + strategy] if self.pick(2) else [])]
        rows = [(cell, self._cell(), self._cell()) for cell in cells]
        keys = (account, strategy, instrument, account, index)
        self.pair.tell("route", index, keys, self._side(), self._side(), rows)
        is_open = int(self.pick(40) > 0)
        self.pair.tell("hours", index, is_open, 0, INT64_MAX if self.pick(12) else 1_050_000)

    # Steps.

    def step(self) -> None:
        pair = self.pair
        pair.now += self.among([0, 1, 10, 100, 300, 1_000, 4_000, -50, -2_000])
        pair.now = max(pair.now, 0)
        pair.wall = pair.now
        name = self.among(STEPS)
        getattr(self, name)()

    def _prices(self) -> None:
        stamp = max(0, self.pair.now + self.among([*[0] * 20, 200]))
        rows = []
        for _ in range(1 + self.pick(3)):
            instrument = 100 + self.pick(4)
            bad = [0, -5, INT64_MAX, 1_200]
            bid = self.among([1_000, 1_000, 1_010, 990] if self.pick(12) else bad)
            rows.append(
                (
                    instrument,
                    bid,
                    bid + self.among([0, 0, 3, 10] if self.pick(12) else [-1])
                    if 0 < bid < 2_000
                    else bid,
                )
            )
        if self.pick(3):
            self.pair.tell("take", quotes(rows, stamp), stamp)
        else:
            flags = self.among([0, 0, int(Flag.TRIAL), int(Flag.BACKFILLED), int(Flag.ODD_LOT)])
            self.pair.tell("take", trades([(i, bid, flags) for i, bid, _ in rows], stamp), stamp)

    def _top(self) -> None:
        bid = self.among([1_000, 995, 0])
        self.pair.tell("quote", 100 + self.pick(4), bid, bid + self.pick(3), self.pair.now)

    def _price(self) -> Any:
        if not self.pick(40):
            return self.among(HOSTILE)
        return self.among(
            [
                None,
                *[1_000] * 8,
                1_010,
                990,
                1_010,
                990,
                980,
                1_200,
                1_001,
                1_005,
                *([0, -5] if not self.pick(9) else [1_000]),
            ]
        )

    def _size(self) -> Any:
        if not self.pick(40):
            return self.among((*HOSTILE, None, 1 << 62))
        return self.among(
            [1, 3, 3, 3, 6, 6, 9, 10, 30, 60, *([0, -5] if not self.pick(9) else [3])]
        )

    def _check(self) -> None:
        pair = self.pair
        is_again = not self.pick(12) and pair.number
        pair.number += 1
        number = self.pick(pair.number) if is_again else pair.number
        client = number if self.pick(20) else self.among([max(0, number - 1), -1, 1 << 64])
        route, side = self.pick(len(ROUTES)), self.pick(2)
        times = (pair.now, pair.wall)
        flags = int(not self.pick(6))
        answer = pair.tell(
            "check", route, number, client, side, self._price(), self._size(), flags, *times
        )
        if isinstance(answer, int):
            pair.stamp = answer
            assert pair.tell("confirm", answer) is True
            pair.live.append(number)
            pair.approved += 1
        elif isinstance(answer, tuple):
            pair.refused(answer[1][0])

    def _known(self) -> int:
        """Mostly an order that is out."""
        return self.among(self.pair.live) if self.pair.live and self.pick(15) else self.pick(99)

    def _replace(self) -> None:
        times = (self.pair.now, self.pair.wall)
        answer = self.pair.tell("check_replace", self._known(), self._price(), self._size(), *times)
        if isinstance(answer, tuple):
            self.pair.refused(answer[1][0])

    def _cancel(self) -> None:
        self.pair.tell("check_cancel", self._known(), self.pair.now)

    def _fill(self) -> None:
        self.pair.tell("filled", self._known(), self.among([1, 1, 2, 5, 100]))

    def _release(self) -> None:
        number = self._known()
        if self.pair.tell("released", number) and number in self.pair.live:
            self.pair.live.remove(number)

    def _replaced(self) -> None:
        price = self.among([None, 1_000, 1_005, 995])
        self.pair.tell("replaced", self._known(), price, self.among([1, 5, 20]))

    def _refused(self) -> None:
        self.pair.tell("replace_refused", self._known())

    def _late(self) -> None:
        self.pair.tell("late_fill", self.pick(len(ROUTES)), self.pick(2), 1 + self.pick(9))

    def _position(self) -> None:
        size = self.among(
            [0, 0, 10, -10, 40, -40, *([1 << 62, -(1 << 62)] if not self.pick(9) else [0])]
        )
        self.pair.tell("set_position", self.pick(len(ROUTES)), size)

    def _restore(self) -> None:
        self.pair.number += 1
        size = 1 + self.pick(20)
        given = (self.pick(2), self.among([None, 1_000, 1_005]), size, self.pick(size + 1))
        route, number = self.pick(len(ROUTES)), self.pair.number
        if self.pair.tell("restore", route, number, number, *given, self.pick(2)):
            self.pair.live.append(number)

    def _money(self) -> None:
        equity = self.among([*[10_000_000] * 4, 9_999_000, 9_990_000, 10_000_500])
        stamp = max(0, self.pair.now + self.among([*[0] * 9, 500]))
        self.pair.tell("money", self.pick(2), equity, self.among([equity, 9_000_050]), stamp)

    def _peak(self) -> None:
        self.pair.tell("set_peak", self.pick(2), self.among([9_999_000, 10_000_000, 10_001_000]))

    def _pnl(self) -> None:
        index = self.among([NONE, self.pick(len(ROUTES))])
        self.pair.tell("day_pnl", self.pick(2), index, self.among([0, 0, -100, -600, -9_000]))

    def _halt(self) -> None:
        if not self.pick(8):
            self.pair.tell("halt", self.pick(5), self.pick(2), self.among([1, 2, 4, 7]))
            return
        for scope in range(5):
            self.pair.tell("lift", scope, self.pick(2), self.among([7, 7, 1, 2]))

    def _word(self) -> None:
        if self.pair.word.word & 3:
            self.pair.word.word &= ~3
        elif not self.pick(12):
            self.pair.word.trip(self.among([1, 2, 3]))

    def _confirm(self) -> None:
        assert self.pair.tell("confirm", self.pair.stamp + 1_000) is False
        self.pair.tell("confirm", self.pair.stamp)

    def _reload(self) -> None:
        getattr(self, self.among(["_account", "_strategy", "_venue"]))(self.pick(2))
        self._route(self.pick(len(ROUTES)))
        if not self.pick(3):
            self._define(self.pick(4))
        if not self.pick(3):
            self.pair.tell("settings", self.among([800, 8_000]), 2_000, 200_000, 2)

    def _enable(self) -> None:
        self.pair.tell("enable", self.pick(2))


STEPS = (
    *["_check"] * 14,
    *["_prices"] * 4,
    *["_release"] * 4,
    *["_fill"] * 4,
    *["_replace"] * 3,
    *["_cancel"] * 3,
    "_replaced",
    "_refused",
    "_late",
    "_position",
    "_restore",
    "_money",
    "_money",
    "_pnl",
    "_peak",
    "_halt",
    "_halt",
    *["_word"] * 4,
    "_confirm",
    "_reload",
    "_enable",
    "_top",
)


def seeded(seed: int, steps: int) -> Pair:
    """A whole walk of a seed. Raises AssertionError where the gates differ."""
    random = Random(seed)
    walk = Walk(random.randrange)
    for _ in range(steps):
        walk.step()
    walk.pair.same_state()
    return walk.pair


# What a sequence of a fresh gate does: a few orders, and what becomes of them.
SEQUENCE_STEPS = 10


def sequences(seeds: Iterable[int]) -> tuple[int, frozenset[int]]:
    """A short walk of each seed, each on fresh gates under limits of its own.

    Return how many orders passed, and which checks failed. Raises AssertionError with the seed:
    the gates differ.
    """
    approved, reasons = 0, set[int]()
    for seed in seeds:
        try:
            pair = _sequence(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        approved += pair.approved
        reasons |= set(pair.reasons)
    return approved, frozenset(reasons)


def _sequence(seed: int) -> Pair:
    draw = Random(seed).random
    # A fifth of what `randrange` costs; a sequence draws some hundred choices.
    walk = Walk(lambda most: int(draw() * most))
    for _ in range(SEQUENCE_STEPS):
        walk.step()
    walk.pair.same_state()
    return walk.pair
