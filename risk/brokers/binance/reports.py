"""What Binance says, as reports: answers to order requests, events of the user data stream.

Pure: texts in, `Report`s out, prices and sizes as exact mantissas. A message about an order of ours
that cannot be read puts that order in doubt, and is a FILL without numbers where it tells of one;
it is never guessed at and never dropped.

Sources, read 2026-11-21: binance-spot-api-docs user-data-stream.md; developers.binance.com
derivatives/usds-margined-futures/user-data-streams, Event Order Update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from risk.brokers.binance.config import Market
from risk.brokers.binance.errors import Refusal, is_definitive, is_duplicate, vendor_text
from risk.brokers.binance.wire import RequestId, Scales, Wire
from risk.orders import MONEY_SCALE, Report, ReportKind
from tickd.errors import TickdError
from tickd.units import decimal_to_mantissa

__all__ = [
    "Answer",
    "Heard",
    "OwnScales",
    "Reader",
    "ScalesOf",
    "fee_units",
    "none_known",
    "qualified",
]

ScalesOf = Callable[[str], Scales | None]
# Of an order that is known, by our reference or the venue's id: its own instrument's.
OwnScales = Callable[[str, str], Scales | None]


def none_known(_ref: str, _venue_id: str) -> None:
    """An `OwnScales` that knows no order."""


NS_PER_MS: Final = 1_000_000
# Executions that trade; CALCULATED: a liquidation's.
_FILLS: Final = frozenset({"TRADE", "CALCULATED"})
# Execution types that say nothing else than that an order is over are told apart by its status.
_ENDS: Final = {
    "CANCELED": ReportKind.CANCELLED,
    "EXPIRED": ReportKind.EXPIRED,
    "EXPIRED_IN_MATCH": ReportKind.EXPIRED,
    "REJECTED": ReportKind.REJECTED,
}
_ALIVE: Final = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_CANCEL", "PENDING_NEW", "FILLED"})
# Events of the account, of lists of orders and of leverage: positions and money are asked for.
_IDLE: Final = frozenset(
    {
        "outboundAccountPosition",
        "balanceUpdate",
        "listStatus",
        "externalLockUpdate",
        "ACCOUNT_UPDATE",
        "ACCOUNT_CONFIG_UPDATE",
        "MARGIN_CALL",
        "TRADE_LITE",
        "STRATEGY_UPDATE",
        "GRID_UPDATE",
        "CONDITIONAL_ORDER_TRIGGER_REJECT",
        "ALGO_UPDATE",
    }
)
_OVER: Final = frozenset({"eventStreamTerminated", "listenKeyExpired", "serverShutdown"})


_NOTHING: Final = msgspec.Raw(b"null")


class Answer(msgspec.Struct):
    """A message of the WebSocket API: an answer, or (spot) a wrapped event."""

    id: str | int | None = None
    status: int | None = None
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    event: msgspec.Raw = _NOTHING

    @property
    def is_event(self) -> bool:
        return bytes(self.event) != b"null"


class Heard(NamedTuple):
    """What a message of the stream amounts to.

    kind: `report`, `foreign` (somebody else's order), `idle`, `unknown`, `over` (the venue ends
    the stream), `unreadable` (something was missed: the session must begin anew).
    """

    kind: str
    report: Report | None = None
    words: str = ""


class _Head(msgspec.Struct):
    e: str = ""


class _Order(msgspec.Struct):
    """An order event; both markets use these letters."""

    symbol: str = msgspec.field(name="s")
    client_id: str = msgspec.field(name="c")
    execution: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    number: int = msgspec.field(name="i")
    price: str = msgspec.field(name="p")
    size: str = msgspec.field(name="q")
    last_price: str = msgspec.field(name="L")
    last_size: str = msgspec.field(name="l")
    cum_size: str = msgspec.field(name="z")
    time_ms: int = msgspec.field(name="T")
    trade: int = msgspec.field(name="t", default=-1)
    fee: str | None = msgspec.field(name="n", default=None)
    fee_asset: str | None = msgspec.field(name="N", default=None)
    # Spot: of a cancel, the id of the order that it cancels; `c` is then the cancel's own.
    cancelled_id: str | None = msgspec.field(name="C", default=None)
    reject: str | None = msgspec.field(name="r", default=None)


class _Wrapped(msgspec.Struct):
    o: msgspec.Raw


class _Names(msgspec.Struct):
    """As much of an order event as names the order, when the rest cannot be read."""

    c: object = ""
    C: object = ""
    x: object = ""


class _Placed(msgspec.Struct, rename="camel"):
    symbol: str
    order_id: int
    client_order_id: str = ""
    orig_client_order_id: str = ""
    status: str = "NEW"
    price: str = ""
    orig_qty: str = ""
    qty: str = ""  # of an amended spot order
    executed_qty: str | None = None
    transact_time: int | None = None
    update_time: int | None = None


class _Amended(msgspec.Struct, rename="camel"):
    amended_order: _Placed
    transact_time: int | None = None


class Reader:
    """Reads the messages of one market."""

    def __init__(
        self, market: Market, wire: Wire, scales_of: ScalesOf, own: OwnScales = none_known
    ) -> None:
        self._spot: Final = market == "spot"
        self._wire: Final = wire
        self._scales_of: Final = scales_of
        self._own: Final = own
        # Where there is no trade spot says -1, USD-M 0.
        self._first_trade: Final = 0 if self._spot else 1
        self._head: Final = msgspec.json.Decoder(_Head)
        self._order: Final = msgspec.json.Decoder(_Order)
        self._wrapped: Final = msgspec.json.Decoder(_Wrapped)

    # The user data stream -------------------------------------------------------------------

    def event(self, body: bytes | msgspec.Raw) -> Heard:
        """Read one event of the user data stream."""
        try:
            name = self._head.decode(body).e
            kind = "unknown"
            if name in _IDLE:
                kind = "idle"
            elif name in _OVER:
                kind = "over"
            elif name == ("executionReport" if self._spot else "ORDER_TRADE_UPDATE"):
                return self._order_event(body if self._spot else self._wrapped.decode(body).o)
        except msgspec.MsgspecError as error:
            return Heard("unreadable", words=vendor_text(str(error)))
        return Heard(kind, words=vendor_text(name))

    def _order_event(self, body: bytes | msgspec.Raw) -> Heard:
        """Raises MsgspecError: not even the order that it is about can be read."""
        try:
            order = self._order.decode(body)
        except msgspec.ValidationError as error:
            return self._broken(body, vendor_text(str(error)))
        ref = self._wire.ref_of(order.client_id) or self._wire.ref_of(order.cancelled_id or "")
        if not ref:
            return Heard("foreign", words=f"{order.symbol} {order.execution}")
        try:
            return Heard("report", self._report(order, ref))
        except TickdError as error:
            return Heard("report", _unreadable(ref, str(error), order.execution))

    def _report(self, order: _Order, ref: str) -> Report:
        """Raises TickdError: a number does not fit the instrument's scales."""
        venue_id = qualified(order.symbol, order.number)
        scales = self._scales(order.symbol, ref, venue_id)
        kind = self._kind(order)
        price = size = None
        exec_id = ""
        fee = 0
        if kind == ReportKind.FILL:
            if order.trade < self._first_trade:
                raise TickdError("a fill without the number of its trade")
            price = decimal_to_mantissa(order.last_price, scales.price)
            size = decimal_to_mantissa(order.last_size, scales.size)
            if size <= 0:
                raise TickdError(f"a fill of {vendor_text(order.last_size)}")
            exec_id = qualified(order.symbol, order.trade)
            fee = fee_units(order.fee)
        elif kind == ReportKind.REPLACED:
            price = decimal_to_mantissa(order.price, scales.price)
            size = decimal_to_mantissa(order.size, scales.size)
        reject = "" if order.reject in {None, "NONE"} else vendor_text(order.reject or "")
        return Report(
            kind=kind,
            ref=ref,
            venue_id=venue_id,
            exec_id=exec_id,
            price=price,
            size=size,
            cum_size=decimal_to_mantissa(order.cum_size, scales.size),
            fee=fee,
            fee_currency=(order.fee_asset or "") if kind == ReportKind.FILL else "",
            code=order.status if kind in _ENDS.values() else "",
            reason=reject,
            ts_event_ns=order.time_ms * NS_PER_MS,
        )

    def _kind(self, order: _Order) -> ReportKind:
        """Raises TickdError: the venue says something that we have no word for."""
        match order.execution:
            case "NEW":
                return ReportKind.ACKED
            case _ if order.execution in _FILLS:
                return ReportKind.FILL
            case "REPLACED" | "AMENDMENT":
                return ReportKind.REPLACED
        # CANCELED, EXPIRED, REJECTED, TRADE_PREVENTION: the status says whether it is over.
        end = _ENDS.get(order.status)
        if end is None:
            raise TickdError(
                f"execution {vendor_text(order.execution)} in status {vendor_text(order.status)}"
            )
        return end

    def _broken(self, body: bytes | msgspec.Raw, words: str) -> Heard:
        names = msgspec.json.decode(body, type=_Names)
        for name in (names.c, names.C):
            ref = self._wire.ref_of(name) if isinstance(name, str) else ""
            if ref:
                return Heard("report", _unreadable(ref, words, names.x))
        return Heard("unreadable", words=words)

    # Answers --------------------------------------------------------------------------------

    def accepted(self, request: RequestId, result: msgspec.Raw) -> Report:
        """A 200 answer; the stream says the same, before or after it."""
        try:
            return self._accepted(request, self._placed(result))
        except (msgspec.MsgspecError, TickdError) as error:
            return _unreadable(request.ref, vendor_text(str(error)))

    def _accepted(self, request: RequestId, placed: _Placed) -> Report:
        if request.kind != "c" and self._wire.ref_of(placed.client_order_id) != request.ref:
            raise TickdError(f"the answer is of order {vendor_text(placed.client_order_id)}")
        venue_id = qualified(placed.symbol, placed.order_id)
        scales = self._scales(placed.symbol, request.ref, venue_id)
        price = size = cum_size = None
        # A modified USD-M order is over when its new size is filled, or post-only would take.
        kind = _ENDS.get(placed.status)
        if kind is None:
            if request.kind == "c" or placed.status not in _ALIVE:
                raise TickdError(f"order status {vendor_text(placed.status)}")
            kind = ReportKind.ACKED if request.kind == "n" else ReportKind.REPLACED
        if kind == ReportKind.REPLACED:
            price = decimal_to_mantissa(placed.price, scales.price)
            size = decimal_to_mantissa(placed.qty or placed.orig_qty, scales.size)
        # An acknowledgement is often older than the fills that came before it.
        if kind != ReportKind.ACKED and placed.executed_qty is not None:
            cum_size = decimal_to_mantissa(placed.executed_qty, scales.size)
        stamp_ms = placed.transact_time or placed.update_time
        return Report(
            kind=kind,
            ref=request.ref,
            venue_id=venue_id,
            price=price,
            size=size,
            cum_size=cum_size,
            code=placed.status if kind in _ENDS.values() else "",
            ts_event_ns=None if stamp_ms is None else stamp_ms * NS_PER_MS,
        )

    @staticmethod
    def _placed(result: msgspec.Raw) -> _Placed:
        try:
            return msgspec.json.decode(result, type=_Amended).amended_order
        except msgspec.ValidationError:
            return msgspec.json.decode(result, type=_Placed)

    def refused(self, request: RequestId, refusal: Refusal) -> Report:
        """An answer that is no 200: final, or in doubt."""
        kind = ReportKind.IN_DOUBT
        if is_definitive(refusal) and not (request.kind == "n" and is_duplicate(refusal)):
            kind = {
                "n": ReportKind.REJECTED,
                "c": ReportKind.CANCEL_REJECTED,
                "r": ReportKind.REPLACE_REJECTED,
            }[request.kind]
        code = str(refusal.code or f"http {refusal.status}")
        return Report(kind=kind, ref=request.ref, code=code, reason=refusal.words)

    def _scales(self, symbol: str, ref: str, venue_id: str) -> Scales:
        """The order's own, where it is known: its symbol may have been defined anew."""
        scales = self._own(ref, venue_id) or self._scales_of(symbol)
        if scales is None:
            raise TickdError(f"{vendor_text(symbol)} has no known scales")
        return scales


def _unreadable(ref: str, words: str, execution: object = "") -> Report:
    """What cannot be read: a fill that cannot be counted must not be taken for a mere doubt."""
    kind = ReportKind.FILL if execution in _FILLS else ReportKind.IN_DOUBT
    return Report(kind=kind, ref=ref, code="unreadable", reason=words)


def qualified(symbol: str, number: int) -> str:
    """`BTCUSDT:4293153`: Binance numbers orders and trades by symbol."""
    return f"{symbol}:{number}"


def fee_units(text: str | None) -> int:
    """A commission in money units; more decimals than those are rounded against us.

    Some assets have more than eight; a fill must not be lost for the tail of its fee.
    Raises TickdError: no number.
    """
    if not text:
        return 0
    whole, _, decimals = text.partition(".")
    cut = decimals[:MONEY_SCALE]
    units = decimal_to_mantissa(f"{whole}.{cut}" if cut else whole, MONEY_SCALE)
    tail = decimals[MONEY_SCALE:]
    if tail and not (tail.isascii() and tail.isdigit()):
        raise TickdError(f"not a decimal number: {vendor_text(text)!r}")
    return units + 1 if tail.strip("0") and not text.startswith("-") else units
