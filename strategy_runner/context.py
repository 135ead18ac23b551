"""`Context`: everything a strategy can see and do besides its callbacks.

Reading is a native look-up; deciding makes a canonical line. It calls no callback and keeps no
market data itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, final

import msgspec
import structlog

from strategy_runner.decisions import DecisionLog, line_of
from strategy_runner.errors import StrategyError
from strategy_runner.state import State
from strategy_runner.timers import Timer, Timers
from tickd.native import Dispatch, L2Book, LastValues, Order
from tickd.units import decimal_to_mantissa, mantissa_to_text

__all__ = ["MANTISSA_MAX", "TIMES_IN_FORCE", "Context", "Instrument", "Instruments", "Position"]

TIMES_IN_FORCE: Final = ("gtc", "ioc", "fok", "post_only")
# Beyond it no mantissa goes, and the undefined one is the largest.
MANTISSA_MAX: Final = (1 << 63) - 2
_SHOWN_CHARACTERS: Final = 80
_SHOWN_BITS: Final = 256


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument; tick and lot are mantissas in its scales."""

    id: int
    venue: str
    symbol: str
    asset_class: str
    price_scale: int
    size_scale: int
    tick: int
    lot: int
    multiplier: str

    def price(self, text: str) -> int:
        """Return the mantissa of a price such as `61250.5`. Raises TickdError."""
        return decimal_to_mantissa(text, self.price_scale)

    def size(self, text: str) -> int:
        """Return the mantissa of a size such as `0.001`. Raises TickdError."""
        return decimal_to_mantissa(text, self.size_scale)

    def price_text(self, mantissa: int) -> str:
        return mantissa_to_text(mantissa, self.price_scale)

    def size_text(self, mantissa: int) -> str:
        return mantissa_to_text(mantissa, self.size_scale)


@final
class Instruments(Mapping[int, Instrument]):
    """Instruments by number, in the order of their numbers: that they come in depends on cuts."""

    __slots__ = ("_is_sorted", "_known")

    def __init__(self) -> None:
        self._known: dict[int, Instrument] = {}
        self._is_sorted = True

    def add(self, known: Instrument) -> None:
        self._known[known.id] = known
        self._is_sorted = False

    def __getitem__(self, number: int) -> Instrument:
        return self._known[number]

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[int]:
        if not self._is_sorted:
            self._known = dict(sorted(self._known.items()))
            self._is_sorted = True
        return iter(self._known)


class Position(NamedTuple):
    """What the fills of this strategy add up to: mantissas; cost is price times size."""

    size: int
    cost: int


@final
class Context:
    """What a strategy has in `self.context`."""

    def __init__(
        self,
        name: str,
        *,
        owner: int,
        dispatch: Dispatch,
        instruments: Mapping[int, Instrument],
        state: State,
        record: Callable[[bytes], None],
        on_decision: Callable[[bytes], None] | None = None,
        known_from: int = 0,
        decisions: DecisionLog | None = None,
    ) -> None:
        self.name: Final = name
        self.instruments: Final = instruments
        self.state: Final = state
        self.last: Final[LastValues] = dispatch.last
        """Last trade, quote, top of book, mark, funding … of each instrument; answers are yours."""
        self.known_from: Final = known_from
        """Above this number nothing is missing in values, books and positions. 0: no warm-up."""
        self.log: Final[Any] = structlog.get_logger().bind(strategy=name)
        # One log over all lives in this host.
        self.decisions: Final = decisions or DecisionLog()
        self.timers: Final = Timers()
        self._owner = owner
        self._dispatch = dispatch
        self._record = record
        self._on_decision = on_decision
        # True in on_batch: where a batch ends is chance.
        self.is_gathering = False

    @property
    def now_ns(self) -> int:
        """When the record in hand was received, ns UTC; before it that of the warm-up, or 0."""
        return self._dispatch.now_ns

    @property
    def seq(self) -> int:
        """Number of the record in hand."""
        return self._dispatch.seq

    def instrument(self, symbol: str, venue: str | None = None) -> Instrument:
        """Return the newest definition of a symbol. Raises StrategyError: unknown, ambiguous."""
        found = {
            each.venue: each
            for each in self.instruments.values()
            if each.symbol == symbol and venue in (None, each.venue)
        }
        if len(found) != 1:
            known = ", ".join(sorted(found)) or "no venue"
            raise StrategyError(f"instrument {symbol!r}: {known} has it", hint="name the venue")
        return next(iter(found.values()))

    def book(self, instrument: int) -> L2Book | None:
        """Return the live book; None before its first depth message."""
        return self._dispatch.book(instrument)

    def position(self, instrument: int) -> Position:
        return Position(*self.last.position(self._owner, instrument))

    def open_orders(self, instrument: int | None = None) -> list[Order]:
        """Return the newest news of each order that is not over, of one instrument or of all."""
        orders = self.last.open_orders(self._owner)
        return orders if instrument is None else [o for o in orders if o.instrument == instrument]

    def call_at(self, ts_ns: int, name: str = "") -> Timer:
        """Have `on_timer` called at the first clock record at or behind that time."""
        return self.timers.at(ts_ns, name)

    def call_every(self, every_ns: int, name: str = "") -> Timer:
        """Have `on_timer` called at every multiple of `every_ns` since 1970, as the clock goes."""
        return self.timers.every(every_ns, name, self.now_ns)

    def submit(
        self,
        instrument: int,
        *,
        side: Literal["B", "A"],
        size: int,
        price: int | None = None,
        time_in_force: Literal["gtc", "ioc", "fok", "post_only"] = "gtc",
        reduce_only: bool = False,
    ) -> int:
        """Ask for an order; return its client id. What becomes of it comes to `on_order`.

        Args: `size`, `price`: mantissas; without a price it is a market order. `reduce_only`: it
        may bring the account's position nearer to zero, nothing else; other strategies of the
        account count, so one that holds nothing may open a position of its own with it.
        Raises StrategyError: no such instrument, not on its tick or lot.
        """
        known = self._fitting("submit", instrument, price, size)
        if side not in ("B", "A") or time_in_force not in TIMES_IN_FORCE:
            raise StrategyError(
                f"submit {known.symbol}: side {_shown(side)}, {_shown(time_in_force)}",
                hint=f"side B or A; {', '.join(TIMES_IN_FORCE)}",
            )
        if type(reduce_only) is not bool:
            raise StrategyError(f"submit {known.symbol}: reduce_only {_shown(reduce_only)}")
        self._check()
        client_id = self._owner << 32 | self.state.next_order()
        self._decided(
            {
                "kind": "intent",
                "client_id": client_id,
                "instrument": known.id,
                "venue": known.venue,
                "symbol": known.symbol,
                "side": side,
                "price": price,
                "size": size,
                "time_in_force": time_in_force,
                "reduce_only": reduce_only,
            },
            recorded=True,
        )
        return client_id

    def cancel(self, client_id: int) -> None:
        """Ask for an order to be taken back; what the venue has no room for yet is sent later.

        Raises StrategyError: not a client id of its own.
        """
        if type(client_id) is not int or client_id >> 32 != self._owner:
            raise StrategyError(f"cancel: no client id of this strategy: {_shown(client_id)}")
        self._decided({"kind": "cancel", "client_id": client_id}, recorded=True)

    def replace(self, client_id: int, *, size: int, price: int | None = None) -> None:
        """Ask for another price and another whole size of an order that is out.

        Args: `size`: what is filled already counts; `price`: without one the order keeps its own,
        which a market order has not. A refusal is news of the order in the state that it is in.
        Raises StrategyError as `submit`, and where no such order is open.
        """
        order = next((each for each in self.open_orders() if each.client_id == client_id), None)
        if order is None:
            raise StrategyError(f"replace: no open order {_shown(client_id)}")
        self._fitting("replace", order.instrument, price, size)
        self._decided(
            {"kind": "replace", "client_id": order.client_id, "price": price, "size": size},
            recorded=True,
        )

    def _fitting(self, what: str, instrument: int, price: int | None, size: int) -> Instrument:
        known = self.instruments.get(instrument)
        if known is None:
            raise StrategyError(f"{what}: no instrument {_shown(instrument)}")
        for name, value in (("size", size), ("price", 0 if price is None else price)):
            if type(value) is not int or abs(value) > MANTISSA_MAX:
                raise StrategyError(
                    f"{what} {known.symbol}: {name} {_shown(value)} is no whole mantissa",
                    hint="an int, not a bool, a float or a numpy number, that fits 64 bits",
                )
        if size < 1 or size % (known.lot or 1):
            raise StrategyError(f"{what} {known.symbol}: size {size} is not in lots of {known.lot}")
        if price is not None and price % (known.tick or 1):
            raise StrategyError(f"{what} {known.symbol}: price {price} is not on {known.tick}")
        return known

    def decide(self, what: str, **fields: object) -> None:
        """Note a decision that is no order: it is part of the hash, not of the raw log."""
        self._decided({"kind": "decide", "what": what, "fields": fields}, recorded=False)

    def _check(self) -> None:
        if self.is_gathering:
            raise StrategyError(
                "a decision in on_batch, where a batch ends by chance",
                hint="gather in on_batch, decide in on_timer, on_order or a callback per event",
            )

    def _decided(self, fields: dict[str, object], *, recorded: bool) -> None:
        self._check()
        line = line_of({**fields, "strategy": self.name, "seq": self.seq, "ts_ns": self.now_ns})
        if recorded:
            self._record(line)
        self.decisions.add(line)
        if self._on_decision is not None:
            self._on_decision(line)


def _shown(value: object) -> str:
    """A value that should have been another, short; a huge integer has no text in Python."""
    if type(value) is int and value.bit_length() > _SHOWN_BITS:
        return f"of {value.bit_length()} bits"
    return repr(value)[:_SHOWN_CHARACTERS]
