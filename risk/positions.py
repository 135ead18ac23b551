"""Positions, and what was earned with them: a fold of executions, exact in integers.

One position per (account, strategy, instrument). A trade that grows it adds to its cost; one that
shrinks it realises the difference to the average cost of what it closes; one that goes through zero
does both. It asks nobody: executions, marks and times come in as arguments.

Cost is price x size x multiplier, an integer at the contract's own scale (1e-8 at least). Of a
closed part the cost is rounded toward zero to that scale, and the rest stays with what is open: so
nothing is lost or found, and a position that is flat has realised exactly what was paid and
received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, final

import msgspec

from risk.kept_positions import Day, Kept, KeptRow
from risk.orders import MONEY_SCALE, Side, VenuePosition
from tickd.units import decimal_to_mantissa

__all__ = [
    "Contract",
    "Difference",
    "Key",
    "PnL",
    "Position",
    "Positions",
    "compare",
    "trading_day",
]

DAY_NS: Final = 86_400_000_000_000


class Key(NamedTuple):
    """Whose position in what."""

    account: str
    strategy: str
    instrument: int


class _Definition(msgspec.Struct, frozen=True):
    symbol: str
    price_scale: int
    size_scale: int
    multiplier: str = "1"


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What a trade of an instrument is worth: price x size x multiplier x 10^-scale of money."""

    symbol: str
    multiplier: int
    scale: int

    @classmethod
    def of(cls, definition: bytes) -> Contract:
        """Read a definition (JSON). Raises msgspec.DecodeError, TickdError(FATAL)."""
        told = msgspec.json.decode(definition, type=_Definition)
        decimals = len(told.multiplier.partition(".")[2])
        multiplier = decimal_to_mantissa(told.multiplier, decimals)
        scale = told.price_scale + told.size_scale + decimals
        if scale < MONEY_SCALE:
            multiplier *= 10 ** (MONEY_SCALE - scale)
        return cls(symbol=told.symbol, multiplier=multiplier, scale=max(scale, MONEY_SCALE))

    def value(self, price: int, size: int) -> int:
        """What `size` at `price` is worth, at the contract's scale; signs multiply."""
        return price * size * self.multiplier

    def money(self, value: int) -> int:
        """Money (1e-8) of a value, rounded down: never more than it is."""
        return int(value // 10 ** (self.scale - MONEY_SCALE))


class PnL(NamedTuple):
    """Money, 1e-8. total = realised - fees + unrealised."""

    realised: int = 0
    fees: int = 0
    unrealised: int = 0

    @property
    def total(self) -> int:
        return self.realised - self.fees + self.unrealised

    def plus(self, other: PnL) -> PnL:
        return PnL(
            self.realised + other.realised,
            self.fees + other.fees,
            self.unrealised + other.unrealised,
        )


@final
class Position:
    """One position. `size`: bought minus sold; `cost`: what is open of it cost, signed as size."""

    __slots__ = ("contract", "cost", "fees", "fills", "realised_value", "size")

    def __init__(self, contract: Contract) -> None:
        self.contract: Final = contract
        self.size = 0
        self.cost = 0
        # At the contract's scale, so that sums are exact.
        self.realised_value = 0
        self.fees = 0
        self.fills = 0

    def apply(self, side: Side, price: int, size: int, fee: int) -> None:
        """Take one execution: mantissas, and money paid."""
        signed = size if side == "B" else -size
        closing = min(size, abs(self.size)) if self.size * signed < 0 else 0
        if closing:
            # The cost of what is closed, rounded toward zero: the rest stays with what is open.
            cost = abs(self.cost) * closing // abs(self.size)
            cost = cost if self.cost >= 0 else -cost
            closed = closing if self.size > 0 else -closing
            self.realised_value += self.contract.value(price, closed) - cost
            self.cost -= cost
            self.size -= closed
        opening = signed + closing if signed < 0 else signed - closing
        self.size += opening
        self.cost += self.contract.value(price, opening)
        self.fees += fee
        self.fills += 1

    @property
    def realised(self) -> int:
        """Money realised, without fees."""
        return self.contract.money(self.realised_value)

    def unrealised_value(self, mark: int) -> int:
        """What closing at `mark` would realise, at the contract's scale."""
        return self.contract.value(mark, self.size) - self.cost

    def unrealised(self, mark: int) -> int:
        """The same as money."""
        return self.contract.money(self.unrealised_value(mark))

    @property
    def average_price(self) -> tuple[int, int] | None:
        """Cost and size x multiplier: their ratio is the average price's mantissa; None when flat.

        A ratio, because a quotient would not be exact.
        """
        return (self.cost, self.size * self.contract.multiplier) if self.size else None

    def pnl(self, mark: int | None) -> PnL:
        """Everything at a mark; without one the open part counts nothing."""
        value = 0 if mark is None else self.unrealised(mark)
        return PnL(self.realised, self.fees, value)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A position that the venue counts in another way than we do."""

    symbol: str
    ours: int
    theirs: int


def trading_day(ts_ns: int, *, begins_ns: int = 0) -> int:
    """Days since the epoch of a moment, where a day begins `begins_ns` after midnight UTC."""
    return (ts_ns - begins_ns) // DAY_NS


def compare(ours: Mapping[str, int], theirs: Iterable[VenuePosition]) -> tuple[Difference, ...]:
    """Return where sizes by symbol differ, in the order of the symbols; a missing one is 0."""
    told = {each.symbol: each.size for each in theirs}
    return tuple(
        Difference(symbol=symbol, ours=ours.get(symbol, 0), theirs=told.get(symbol, 0))
        for symbol in sorted({*ours, *told})
        if ours.get(symbol, 0) != told.get(symbol, 0)
    )


@final
class Positions:
    """All positions of a node. A position that is flat stays: what it realised is counted."""

    def __init__(self, *, day_begins_ns: int = 0) -> None:
        self._day_begins_ns: Final = day_begins_ns
        self._contracts: Final[dict[int, Contract]] = {}
        self._positions: Final[dict[Key, Position]] = {}
        self._marks: Final[dict[int, int]] = {}
        self._days: Final[dict[str, Day]] = {}
        # What a strategy had in an account when the account's day began.
        self._before: Final[dict[tuple[str, str], int]] = {}

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument's definition. Raises as `Contract.of`."""
        self._contracts.setdefault(instrument, Contract.of(definition))

    def keep(self, instrument: int, contract: Contract) -> None:
        """Take an instrument as others know it, unless it is defined."""
        self._contracts.setdefault(instrument, contract)

    def contract(self, instrument: int) -> Contract | None:
        return self._contracts.get(instrument)

    def last_mark(self, instrument: int) -> int | None:
        """At what an instrument's positions are valued."""
        return self._marks.get(instrument)

    def apply(
        self,
        key: Key,
        *,
        side: Side,
        price: int,
        size: int,
        fee: int = 0,
        ts_ns: int,
    ) -> Position:
        """Take an execution, once. Raises KeyError: the instrument is not defined."""
        self.roll(key.account, ts_ns)
        position = self._positions.get(key)
        if position is None:
            position = self._positions[key] = Position(self._contracts[key.instrument])
        position.apply(side, price, size, fee)
        # Until a better mark comes: what was just paid.
        self._marks.setdefault(key.instrument, price)
        return position

    def mark(self, instrument: int, price: int) -> None:
        """Value an instrument's positions at `price` from now on."""
        self._marks[instrument] = price

    def roll(self, account: str, ts_ns: int) -> bool:
        """Begin the account's trading day of `ts_ns`, unless it has begun; a day never goes back.

        To be called with every execution and now and then without; returns whether it began.
        """
        number = trading_day(ts_ns, begins_ns=self._day_begins_ns)
        day = self._days.get(account)
        if day is not None and day.number >= number:
            return False
        total = self.pnl(account).total
        self._days[account] = Day(number, total, total)
        for strategy, pnl in self._by_strategy(account).items():
            self._before[account, strategy] = pnl
        return True

    def _note_peak(self, account: str) -> int:
        total = self.pnl(account).total
        day = self._days.get(account)
        if day is None:
            return total
        day.peak = max(day.peak, total)
        return total

    def day_pnl(self, account: str) -> tuple[int, int]:
        """Money earned since the day began, all in, and how far that is below the most it was.

        The peak is the highest that a call of this saw: it looks at every position, so it is not
        part of `apply`.
        """
        total = self._note_peak(account)
        day = self._days.get(account)
        return (0, 0) if day is None else (total - day.before, day.peak - total)

    def _by_strategy(self, account: str) -> dict[str, int]:
        totals: dict[str, int] = {}
        for key, position in self.items(account):
            pnl = position.pnl(self._marks.get(key.instrument)).total
            totals[key.strategy] = totals.get(key.strategy, 0) + pnl
        return totals

    def day_pnl_by_strategy(self, account: str) -> dict[str, int]:
        """Money that each strategy earned in an account since the account's day began."""
        return {
            strategy: total - self._before.get((account, strategy), 0)
            for strategy, total in self._by_strategy(account).items()
        }

    def pnl(self, account: str, strategy: str | None = None) -> PnL:
        """Everything of an account, or of one strategy in it, at the last marks."""
        told = PnL()
        for key, position in self.items(account):
            if strategy is None or key.strategy == strategy:
                told = told.plus(position.pnl(self._marks.get(key.instrument)))
        return told

    def items(self, account: str | None = None) -> Iterator[tuple[Key, Position]]:
        """Positions, flat ones too."""
        for key, position in self._positions.items():
            if account is None or key.account == account:
                yield key, position

    def kept(self) -> Kept:
        """Return everything that is to survive a restart."""
        return Kept(
            rows=[
                KeptRow(
                    *key,
                    position.size,
                    str(position.cost),
                    str(position.realised_value),
                    position.fees,
                    position.fills,
                    self._marks.get(key.instrument),
                )
                for key, position in self._positions.items()
            ],
            days={name: [day.number, day.before, day.peak] for name, day in self._days.items()},
            before=[(*name, total) for name, total in self._before.items()],
        )

    def restore(self, kept: Kept) -> None:
        """Begin with what an earlier life kept, all of it or nothing.

        Raises KeyError: an instrument is not defined. ValueError: a number is none.
        """
        restored: dict[Key, Position] = {}
        for row in kept.rows:
            position = Position(self._contracts[row.instrument])
            position.size, position.cost = row.size, int(row.cost)
            position.realised_value = int(row.realised_value)
            position.fees, position.fills = row.fees, row.fills
            restored[Key(row.account, row.strategy, row.instrument)] = position
        days = {name: Day.of(said) for name, said in kept.days.items()}
        self._positions.update(restored)
        for row in kept.rows:
            if row.mark is not None:
                self._marks[row.instrument] = row.mark
        self._days.update(days)
        for account, strategy, total in kept.before:
            self._before[account, strategy] = total

    def add(self, key: Key, other: Position) -> None:
        """Count what another position holds and has earned to the one of `key`."""
        mine = self._positions.setdefault(key, Position(other.contract))
        mine.size += other.size
        mine.cost += other.cost
        mine.realised_value += other.realised_value
        mine.fees += other.fees
        mine.fills += other.fills

    def hold(self, key: Key, size: int) -> None:
        """Count a signed size of a defined instrument whose cost nobody knows: see `cost`."""
        position = self._positions.setdefault(key, Position(self._contracts[key.instrument]))
        position.size += size

    def cost(self, key: Key, size: int, price: int) -> None:
        """Say what a size of `hold` counts from: nothing is earned with it before."""
        position = self._positions[key]
        position.cost += position.contract.value(price, size)
        self._marks.setdefault(key.instrument, price)

    def position(self, key: Key) -> Position | None:
        return self._positions.get(key)

    def sizes(self, account: str) -> dict[str, int]:
        """What an account holds by symbol, over its strategies; flat ones are absent."""
        sizes: dict[str, int] = {}
        for _, position in self.items(account):
            symbol = position.contract.symbol
            sizes[symbol] = sizes.get(symbol, 0) + position.size
        return {symbol: size for symbol, size in sizes.items() if size}

    def compare(self, account: str, theirs: Iterable[VenuePosition]) -> tuple[Difference, ...]:
        """Return where the venue's positions differ from what an account's executions add up to."""
        return compare(self.sizes(account), theirs)
