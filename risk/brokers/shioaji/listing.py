"""The venue's lists as one Snapshot: orders, deals, positions, money. Pure: SDK objects in.

It decides whether the lists are whole; what follows from them is the router's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, final

from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.brokers.shioaji.correlation import Correlation, Entry, owned_deal
from risk.brokers.shioaji.numbers import exact, mantissa, money, seconds_ns, whole
from risk.brokers.shioaji.wire import ODD_SUFFIX, Scales, deal_of, message_of, none_known, text_of
from risk.orders import AccountState, Report, ReportKind, VenueOrder, VenuePosition

__all__ = ["CURRENCY", "Deals", "Lists", "funds_of", "is_open", "order_of", "positions_of"]

CURRENCY: Final = "TWD"
LOT_SHARES: Final = 1000
End = Literal["", "filled", "cancelled", "expired", "rejected"]
_ENDS: Final[dict[str, End]] = {
    "Cancelled": "cancelled",
    "Failed": "rejected",
    "Filled": "filled",
}
ScalesOf = Callable[[str], Scales | None]
OwnScales = Callable[[str, str], Scales | None]


class Lists(NamedTuple):
    """What the SDK answered, and whether its own cache is whole (`health` empty).

    refs: our references by the venue's ids.
    """

    trades: list[Any]
    refs: Mapping[str, str]
    records: list[Any]
    positions: list[Any]
    funds: Any
    health: tuple[str, ...]


def is_open(trade: Any) -> bool:
    """Whether something of the order is left.

    By quantities first: an order that was reduced and then cancelled may be listed as Submitted,
    with everything taken away (https://github.com/Sinotrade/Shioaji issue 234, seen 2026-07).
    """
    status = trade.status
    if text_of(status.status) in _ENDS:
        return False
    gone = whole(status.deal_quantity or 0) + whole(status.cancel_quantity or 0)
    return gone < whole(trade.order.quantity)


def symbol_of(trade: Any) -> str:
    """A Trade's symbol, as the bus calls it."""
    code = text_of(trade.contract.code)
    lot = text_of(trade.order.order_lot)
    return code + ODD_SUFFIX if lot in ("IntradayOdd", "Odd") else code


def order_of(
    trade: Any, scales_of: ScalesOf, known: Correlation, own: OwnScales = none_known
) -> VenueOrder | None:
    """None: of an instrument that tickd does not trade. Raises MalformedError: off its grid."""
    order, status = trade.order, trade.status
    venue_id, symbol = text_of(order.id), symbol_of(trade)
    owner = known.of_id(venue_id)
    ref = owner.ref if owner is not None else text_of(order.custom_field)
    scales = own(ref, venue_id) or scales_of(symbol)
    if scales is None:
        return None
    modified = status.modified_price or None
    is_market = text_of(order.price_type) != "LMT"
    price = None if is_market else mantissa(modified or order.price, scales.price)
    dealt = whole(status.deal_quantity or 0)
    is_still_open = is_open(trade)
    end: End = ""
    if not is_still_open:
        end = _ENDS.get(text_of(status.status), "cancelled")
    return VenueOrder(
        ref=ref,
        venue_id=venue_id,
        symbol=symbol,
        side="B" if text_of(order.action) == "Buy" else "A",
        price=price,
        size=mantissa(_size(trade), scales.size),
        cum_size=mantissa(dealt, scales.size),
        is_open=is_still_open,
        end=end,
    )


def _size(trade: Any) -> int:
    """As a whole, after what was taken away; of a cancelled order what it was."""
    placed, taken = whole(trade.order.quantity), whole(trade.status.cancel_quantity or 0)
    return placed - taken if is_open(trade) else placed


@final
class Deals:
    """Fills of the day, each under the id that its message has or had.

    The records have the exchange's own sequence. Where they lack a deal (the test environment has
    no records) the Trade's list is taken, of orders of this process only: its `seq` is another
    number, so that a deal is told anew only if no message told one like it.

    refs: our references by the venue's ids, as the Trades have them: a futures record has none.
    """

    def __init__(
        self,
        scales_of: ScalesOf,
        known: Correlation,
        refs: Mapping[str, str],
        own: OwnScales = none_known,
    ) -> None:
        self._scales_of = scales_of
        self._own = own
        self._known = known
        self._refs = refs
        self._found: dict[str, Report] = {}

    def record(self, state: Any, message: Any) -> None:
        """Take one of the day's messages. Raises MalformedError."""
        if text_of(state) not in ("SDEAL", "FDEAL"):
            return
        read = message_of(state, message)
        ref = read.ref or self._refs.get(read.venue_id, "")
        scales = self._own(ref, read.venue_id) or self._scales_of(read.symbol)
        if scales is None:
            return  # of an instrument that tickd does not trade
        owner = self._known.of_id(read.venue_id)
        fill = deal_of(read, ref, scales) if owner is None else owned_deal(read, owner)
        self._found[fill.exec_id] = fill

    def trade(self, trade: Any) -> None:
        """Take what the records lack, after all of them. Raises MalformedError."""
        owner = self._known.of_id(text_of(trade.order.id))
        if owner is not None:
            for fill in _untold(trade, owner):
                self._found[fill.exec_id] = fill

    def all(self) -> tuple[Report, ...]:
        return tuple(self._found.values())


def _untold(trade: Any, owner: Entry) -> list[Report]:
    """Deals of a Trade that neither a record nor a message has told."""
    like = list(owner.deals.values())
    fills: list[Report] = []
    for deal in trade.status.deals:
        price = mantissa(deal.price, owner.scales.price)
        size = mantissa(deal.quantity, owner.scales.size)
        if (price, size) in like:
            like.remove((price, size))
            continue
        exec_id = f"{owner.venue_id}.{text_of(deal.seq)}"
        owner.borrow_deal(exec_id, price, size)
        fills.append(
            Report(
                kind=ReportKind.FILL,
                ref=owner.ref,
                venue_id=owner.venue_id,
                exec_id=exec_id,
                price=price,
                size=size,
                ts_event_ns=seconds_ns(deal.ts),
            )
        )
    return fills


def positions_of(
    positions: Iterable[Any], market: str, scales_of: ScalesOf
) -> tuple[VenuePosition, ...]:
    """Bought minus sold by symbol. Shares of a stock: whole lots, and what is left of them."""
    sums: dict[str, int] = {}
    for each in positions:
        count = whole(each.quantity)
        signed = count if text_of(each.direction) == "Buy" else -count
        code = text_of(each.code)
        sums[code] = sums.get(code, 0) + signed
    found: list[VenuePosition] = []
    for code, size in sums.items():
        parts: tuple[tuple[str, int], ...] = ((code, size),)
        if market == "stock":
            lots, odd = divmod(abs(size), LOT_SHARES)
            sign = 1 if size > 0 else -1
            parts = ((code, sign * lots), (code + ODD_SUFFIX, sign * odd))
        for symbol, count in parts:
            scales = scales_of(symbol) or Scales(0, 0)
            if count:
                found.append(VenuePosition(symbol=symbol, size=mantissa(count, scales.size)))
    return tuple(found)


def funds_of(
    funds: Any, positions: Iterable[Any], config: ShioajiAccountConfig
) -> AccountState | None:
    """The account's money; None: the venue did not say. Raises MalformedError.

    The test environment says zero for every balance, which is no balance: `simulation_funds`
    stands for it.
    """
    if config.simulation:
        if config.simulation_funds is None:
            return None
        amount = money(config.simulation_funds)
        return AccountState(currency=CURRENCY, equity=amount, free=amount)
    if config.market == "futures":
        return AccountState(
            currency=CURRENCY,
            equity=money(funds.equity),
            free=money(funds.available_margin),
            margin_used=money(funds.initial_margin),
            unrealised=money(funds.future_open_position) + money(funds.option_open_position),
        )
    if text_of(funds.errmsg):
        return None
    free = money(funds.acc_balance)
    held = [each for each in positions if text_of(each.direction) == "Buy"]
    worth = sum(money(exact(each.last_price) * whole(each.quantity)) for each in held)
    gained = sum(money(each.pnl) for each in held)
    return AccountState(currency=CURRENCY, equity=free + worth, free=free, unrealised=gained)
