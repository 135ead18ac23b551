"""What a control record of gate, router or broker is as a row of ClickHouse.

Pure: one record gives one row of one table, always the same one, so that the raw log gives the rows
again. A record that makes no sense gives none and says why. Numbers of 64 bits and more go as text,
because whatever handles JSON on the way may read numbers as floats. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from recorder.schema.tables import time_text
from tickd.errors import Action, TickdError
from tickd.events import ID_UNDEF, PRICE_UNDEF, SEQ_INDEX_BITS

__all__ = [
    "TRADING_TABLES",
    "BadRecordError",
    "ControlRecord",
    "Row",
    "kind_of",
    "row_of",
    "table_of",
]

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

# Kind of the control record -> table.
TRADING_TABLES: Final[Mapping[str, str]] = {
    "risk": "risk_decisions",
    "order": "orders",
    "execution": "fills",
    "account": "account_snapshots",
    "audit": "audit",
}
_DAY_NS: Final = 86_400 * 10**9
# What a column of ClickHouse holds; a Python integer may be anything.
_I64: Final = (-(1 << 63), (1 << 63) - 1)
_U64: Final = (0, (1 << 64) - 1)
_U32: Final = (0, (1 << 32) - 1)
_I128: Final = (-(1 << 127), (1 << 127) - 1)
# Texts are for people; one record must not make a block of megabytes.
_CHARACTERS_MAX: Final = 4_096
_POSITIONS_MAX: Final = 4_096
_FIGURES_MAX: Final = 256
# The word of logs from before there was a gate.
_STATES: Final = {"refused": "rejected"}

Text = Annotated[str, msgspec.Meta(max_length=_CHARACTERS_MAX)]
Side = Literal["B", "A", "N"]


class BadRecordError(TickdError):
    """A control record that is no row: its shape, or a number beyond its column."""

    action = Action.SKIP


class ControlRecord(NamedTuple):
    """A control record as the raw log has it."""

    frame_no: int
    recv_ns: int
    payload: bytes


class Row(NamedTuple):
    """A row, and what its block is cut by."""

    table: str
    seq: int
    day: int  # since 1970, UTC
    line: bytes  # a JSON object

    @property
    def values(self) -> dict[str, Any]:
        """The columns by name, in order."""
        return dict(msgspec.json.decode(self.line))


class _Kind(msgspec.Struct):
    kind: str = ""


class _Ids(msgspec.Struct, kw_only=True):
    """What names an order, in every record about one."""

    number: int | None = None
    client_id: int | None = None
    strategy: Text | None = None
    account: Text | None = None
    venue: Text | None = None
    symbol: Text | None = None
    instrument: int | None = None
    side: Side | None = None


class _Risk(_Ids):
    action: Text
    verdict: Text
    reason: Text | None = None
    vector: int = 0
    price: int | None = None
    size: int | None = None
    time_in_force: Text | None = None
    reduce_only: bool = False
    figures: Annotated[dict[str, int | None], msgspec.Meta(max_length=_FIGURES_MAX)] = {}
    limits: Text | None = None


class _Order(_Ids):
    state: Text
    reason: Text | None = None
    code: Text | None = None
    ref: Text | None = None
    venue_id: Text | None = None
    price: int | None = None
    size: int | None = None
    order_price: int | None = None
    order_size: int | None = None
    cum_size: int | None = None


class _Execution(_Ids):
    exec_id: Text
    price: int
    size: int
    fee: int = 0
    fee_currency: Text | None = None
    late: bool = False
    ts_event_ns: int | None = None
    ref: Text | None = None
    venue_id: Text | None = None


class _Account(msgspec.Struct, kw_only=True):
    account: Text
    currency: Text | None = None
    equity: int | None = None
    free: int | None = None
    margin_used: int | None = None
    unrealised: int | None = None
    realised_day: int | None = None
    positions: Annotated[
        list[dict[str, str | int | bool | None]], msgspec.Meta(max_length=_POSITIONS_MAX)
    ] = []


class _Audit(msgspec.Struct, kw_only=True):
    action: Text
    scope: Text | None = None
    key: Text | int | None = None
    operator: Text | None = None
    reason: Text | None = None
    source: Text | None = None
    epoch: int | None = None


_KIND: Final = msgspec.json.Decoder(_Kind)
_ENCODE: Final = msgspec.json.Encoder().encode


def kind_of(payload: bytes) -> str:
    """Return the `kind` of a control record, "" where it has none."""
    try:
        return _KIND.decode(payload).kind
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def table_of(payload: bytes) -> str | None:
    """Return the table of a control record; None for most of them."""
    return TRADING_TABLES.get(kind_of(payload))


def row_of(record: ControlRecord, *, node: int) -> Row:
    """Return the row that a record of one of these kinds is. Raises BadRecordError."""
    kind = kind_of(record.payload)
    make = _MAKERS[kind]
    seq = record.frame_no << SEQ_INDEX_BITS
    head: dict[str, object] = {"node": node, "seq": str(seq), "ts_recv": time_text(record.recv_ns)}
    try:
        values = make(record.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, _OutOfRangeError) as error:
        raise BadRecordError(f"frame {record.frame_no}: {error}") from error
    return Row(TRADING_TABLES[kind], seq, record.recv_ns // _DAY_NS, _ENCODE(head | values))


def _risk(payload: bytes) -> dict[str, object]:
    risk = _decoded(payload, _Risk)
    return {
        "action": risk.action,
        "verdict": risk.verdict,
        "reason": risk.reason or "",
        "vector": _whole(risk.vector, _U64),
        **_ids(risk),
        "price": _mantissa(risk.price),
        "size": _mantissa(risk.size),
        "time_in_force": risk.time_in_force or "",
        "reduce_only": risk.reduce_only,
        "figures": {
            name: _whole(value, _I128)
            for name, value in sorted(risk.figures.items())
            if value is not None
        },
        "limits": risk.limits or "",
    }


def _order(payload: bytes) -> dict[str, object]:
    order = _decoded(payload, _Order)
    return {
        "state": _STATES.get(order.state, order.state),
        "reason": order.reason or "",
        "code": order.code or "",
        **_ids(order),
        "ref": order.ref or "",
        "venue_id": order.venue_id or "",
        "price": _mantissa(order.price),
        "size": _mantissa(order.size),
        "order_price": _mantissa(order.order_price),
        "order_size": _mantissa(order.order_size),
        "cum_size": _mantissa(order.cum_size),
    }


def _execution(payload: bytes) -> dict[str, object]:
    execution = _decoded(payload, _Execution)
    # As far as ClickHouse's times with nine digits reach; what is beyond is no time.
    event_ns = execution.ts_event_ns or 0
    return {
        "ts_event": time_text(event_ns if 0 < event_ns <= _I64[1] else 0),
        "exec_id": execution.exec_id,
        **_ids(execution),
        "ref": execution.ref or "",
        "venue_id": execution.venue_id or "",
        "price": _mantissa(execution.price),
        "size": _mantissa(execution.size),
        "fee": _whole(execution.fee, _I64),
        "fee_currency": execution.fee_currency or "",
        "late": execution.late,
    }


def _account(payload: bytes) -> dict[str, object]:
    account = _decoded(payload, _Account)
    return {
        "account": account.account,
        "currency": account.currency or "",
        "equity": _mantissa(account.equity),
        "free": _mantissa(account.free),
        "margin_used": _mantissa(account.margin_used),
        "unrealised": _mantissa(account.unrealised),
        "realised_day": _mantissa(account.realised_day),
        "positions": [
            {name: str(value) for name, value in position.items() if value is not None}
            for position in account.positions
        ],
    }


def _audit(payload: bytes) -> dict[str, object]:
    audit = _decoded(payload, _Audit)
    return {
        "action": audit.action,
        "scope": audit.scope or "",
        "key": "" if audit.key is None else str(audit.key),
        "operator": audit.operator or "",
        "reason": audit.reason or "",
        "source": audit.source or "",
        "epoch": _id(audit.epoch),
        "record": payload.decode(),
    }


_MAKERS: Final[Mapping[str, Callable[[bytes], dict[str, object]]]] = {
    "risk": _risk,
    "order": _order,
    "execution": _execution,
    "account": _account,
    "audit": _audit,
}


class _OutOfRangeError(ValueError):
    """A number that its column cannot hold."""


def _decoded(payload: bytes, shape: type[_Struct]) -> _Struct:
    return msgspec.json.decode(payload, type=shape)


def _ids(named: _Ids) -> dict[str, Any]:
    return {
        "number": _id(named.number),
        "client_id": _id(named.client_id),
        "strategy": named.strategy or "",
        "account": named.account or "",
        "venue": named.venue or "",
        "symbol": named.symbol or "",
        "instrument": _whole(named.instrument or 0, _U32),
        "side": named.side or "N",
    }


def _mantissa(value: int | None) -> str:
    return _whole(PRICE_UNDEF if value is None else value, _I64)


def _id(value: int | None) -> str:
    return _whole(ID_UNDEF if value is None else value, _U64)


def _whole(value: int, bounds: tuple[int, int]) -> str:
    if not bounds[0] <= value <= bounds[1]:
        raise _OutOfRangeError(f"{value} is not within {bounds[0]} to {bounds[1]}")
    return str(value)
