"""Shioaji's order and deal messages and errors, told in the words of `risk.orders`. README: quirks.

Pure, and it does not import the SDK: messages are read through what they can do (`[]`, `get`,
attributes). It knows no order but the one it looks at; `correlation.py` knows whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from risk.brokers.shioaji.numbers import MalformedError, mantissa, seconds_ns, whole
from risk.orders import Report, ReportKind

__all__ = [
    "OK_CODE",
    "PANIC",
    "VENUE",
    "Moment",
    "OrderMessage",
    "Scales",
    "Verdict",
    "classify",
    "deal_of",
    "is_refused_login",
    "message_of",
    "none_known",
    "session_signal",
    "status_report",
    "verdict_of",
    "words_of",
]

VENUE: Final = "shioaji"
ODD_SUFFIX: Final = "-ODD"
OK_CODE: Final = "00"
WORDS_MAX: Final = 200
# What a Rust extension raises when it panics; it derives from BaseException, without another name.
PANIC: Final = "PanicException"
# Words of a failed order that mean "we do not know" ("processing, check again", "timed out, check
# again", "busy, ask later"): https://github.com/Sinotrade/Shioaji, ERROR_CODES.md, 2026-07.
UNSURE_WORDS: Final = ("請再確認委託狀態", "忙線中")
# Answers by which the SDK or the venue proves that the order was not taken, by the names of the
# SDK's own exceptions. What is not here (5xx, timeouts, broken answers, a panic) proves nothing.
REFUSALS: Final = frozenset(
    {
        "AccountNotProvideError",
        "AccountNotSignError",
        "AuthError",
        "BadRequestError",
        "CaError",
        "ShioajiPermissionError",
        "ShioajiTypeError",
        "ShioajiValueError",
        "ValidationError",
    }
)
CREDENTIALS: Final = frozenset({"AuthError", "CaError", "AccountNotSignError", "ShioajiValueError"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")

Verdict = Literal["refused", "in_doubt"]
Moment = Literal["up", "down", ""]


class Scales(NamedTuple):
    """Decimals of an instrument's prices and sizes."""

    price: int
    size: int


def none_known(_ref: str, _venue_id: str) -> None:
    """The own scales of an order where no order is known."""


class Gettable(Protocol):
    """What a message of the SDK can do; a dict can, too."""

    def __getitem__(self, key: str, /) -> Any: ...
    def get(self, key: str, default: Any = None, /) -> Any: ...


class OrderMessage(NamedTuple):
    """An order or deal message, read once: whose it is, and what it says of that order.

    op: what the venue did, `Deal` for a deal. ok: whether it succeeded. quantity: of the order as
    it was placed; cancelled: taken back so far.
    """

    event_id: str
    op: str
    ok: bool
    venue_id: str
    ref: str
    seqno: str
    ordno: str
    code: str
    reason: str
    symbol: str
    quantity: int
    cancelled: int
    modified_price: object
    price: object
    exec_id: str
    ts_event_ns: int | None


def words_of(value: object, secrets: tuple[str, ...] = ()) -> str:
    """The venue's words: data, so cut short and without control characters or our secrets."""
    text = str(value)
    for secret in secrets:
        text = text.replace(secret, "***")
    return _CONTROL.sub(" ", text)[:WORDS_MAX]


def text_of(value: object) -> str:
    """An identifier or an enum of the SDK as text; empty for nothing."""
    return "" if value is None else str(getattr(value, "value", value))


def symbol_of(contract: Gettable, lot: str) -> str:
    """What the bus calls it. `full_code`: a futures deal's `code` is its product (`TX1`)."""
    code = text_of(contract.get("full_code")) or text_of(contract.get("code"))
    return code + ODD_SUFFIX if lot in ("IntradayOdd", "Odd") else code


def message_of(state: object, message: Gettable) -> OrderMessage:
    """Read a callback's message. Raises MalformedError."""
    kind = text_of(state)
    try:
        if kind in ("SDEAL", "FDEAL"):
            return _deal(message)
        if kind in ("SORDER", "FORDER"):
            return _order(message)
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(f"{kind}: {type(error).__name__}: {words_of(error)}") from error
    raise MalformedError(f"unknown kind of message: {words_of(kind)}")


def _order(message: Gettable) -> OrderMessage:
    operation, order = message["operation"], message["order"]
    status, contract = message["status"], message["contract"]
    op = text_of(operation["op_type"])
    return OrderMessage(
        event_id=text_of(message.get("event_id")),
        op=op,
        ok=text_of(operation["op_code"]) == OK_CODE and op != "Reject",
        venue_id=text_of(order["id"]),
        ref=text_of(order.get("custom_field")),
        seqno=text_of(order.get("seqno")),
        ordno=text_of(order.get("ordno")),
        code=words_of(text_of(operation["op_code"])),
        reason=words_of(text_of(operation.get("op_msg"))),
        symbol=symbol_of(contract, text_of(order.get("order_lot"))),
        quantity=whole(order["quantity"]),
        cancelled=whole(status.get("cancel_quantity") or 0),
        modified_price=status.get("modified_price") or None,
        price=order.get("price"),
        exec_id="",
        ts_event_ns=seconds_ns(status.get("exchange_ts")),
    )


def _deal(message: Gettable) -> OrderMessage:
    venue_id = text_of(message["trade_id"])
    sequence = text_of(message["exchange_seq"])
    if not venue_id or not sequence:
        raise MalformedError("a deal without trade_id or exchange_seq")
    return OrderMessage(
        event_id=text_of(message.get("event_id")),
        op="Deal",
        ok=True,
        venue_id=venue_id,
        ref=text_of(message.get("custom_field")),
        seqno=text_of(message.get("seqno")),
        ordno=text_of(message.get("ordno")),
        code="",
        reason="",
        symbol=symbol_of(message, text_of(message.get("order_lot"))),
        quantity=whole(message["quantity"]),
        cancelled=0,
        modified_price=None,
        price=message["price"],
        exec_id=f"{venue_id}.{sequence}",
        ts_event_ns=seconds_ns(message.get("ts")),
    )


def deal_of(message: OrderMessage, ref: str, scales: Scales) -> Report:
    """The FILL of a deal. Raises MalformedError: a price or quantity off the instrument's grid."""
    return Report(
        kind=ReportKind.FILL,
        ref=ref,
        venue_id=message.venue_id,
        exec_id=message.exec_id,
        price=mantissa(message.price, scales.price),
        size=mantissa(message.quantity, scales.size),
        ts_event_ns=message.ts_event_ns,
    )


def classify(message: OrderMessage) -> ReportKind | None:
    """What an order message means; None: nothing that tickd knows.

    Any failure is told by its `op_code`; a `Reject` is one, whatever its code.
    """
    good, bad = _MEANINGS.get(message.op, (None, None))
    return good if message.ok else bad


_MEANINGS: Final[Mapping[str, tuple[ReportKind | None, ReportKind | None]]] = {
    "New": (ReportKind.ACKED, ReportKind.REJECTED),
    "Cancel": (ReportKind.CANCELLED, ReportKind.CANCEL_REJECTED),
    "UpdatePrice": (ReportKind.REPLACED, ReportKind.REPLACE_REJECTED),
    "UpdateQty": (ReportKind.REPLACED, ReportKind.REPLACE_REJECTED),
    "Reject": (ReportKind.REJECTED, ReportKind.REJECTED),
    "Deal": (ReportKind.FILL, None),
}

# `PendingSubmit` and `Inactive` are the SDK's own states: the venue has not said anything yet.
# `PreSubmitted` is an order that was reserved before the market opens; no message comes for it
# until 08:30, so that this is its acknowledgement.
_STATUSES: Final[Mapping[str, ReportKind | None]] = {
    "Inactive": None,
    "PendingSubmit": None,
    "PreSubmitted": ReportKind.ACKED,
    "Submitted": ReportKind.ACKED,
    "PartFilled": ReportKind.ACKED,  # the deals tell the fills
    "Filled": ReportKind.ACKED,
    "Cancelled": ReportKind.CANCELLED,
    "Failed": ReportKind.REJECTED,
}


def status_report(trade: Any, ref: str) -> Report | None:
    """What a Trade that was handed over says of its order; None: nothing that is certain."""
    status = trade.status
    kind = _STATUSES.get(text_of(status.status))
    if kind is None:
        return None
    reason = words_of(text_of(getattr(status, "msg", None)))
    if kind is ReportKind.REJECTED and any(words in reason for words in UNSURE_WORDS):
        kind = ReportKind.IN_DOUBT
    told = kind in (ReportKind.REJECTED, ReportKind.IN_DOUBT)
    return Report(
        kind=kind,
        ref=ref,
        venue_id=text_of(trade.order.id),
        code=words_of(text_of(getattr(status, "status_code", None))) if told else "",
        reason=reason if told else "",
    )


def verdict_of(error: BaseException) -> Verdict:
    """Whether an exception of an order call proves that nothing was taken."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "refused" if names & REFUSALS else "in_doubt"


def is_refused_login(error: BaseException) -> bool:
    """Whether a person has to mend something before another login has a sense."""
    return bool({kind.__name__ for kind in type(error).__mro__} & CREDENTIALS)


def session_signal(event_code: int) -> Moment:
    """What a session event means for orders (Solace session events)."""
    if event_code in (0, 13):
        return "up"
    return "down" if event_code in (1, 2, 12) else ""
