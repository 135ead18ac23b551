"""What the router puts on record: one flat mapping per decision, order event and execution.

These are the only source of the tables of decisions, orders and fills. Values in, mappings out; who
writes them is the caller's business.
"""

from __future__ import annotations

from typing import Final

from risk.approval import Denied
from risk.order_facts import Fill, Order, State
from risk.orders import Request

__all__ = ["STATE_WORDS", "audit_record", "execution_record", "order_record", "risk_record"]

JsonRecord = dict[str, object]

STATE_WORDS: Final = {
    State.PENDING_NEW: "pending_new",
    State.SENT: "sent",
    State.ACKED: "accepted",
    State.PARTIAL: "partly_filled",
    State.PENDING_CANCEL: "pending_cancel",
    State.PENDING_REPLACE: "pending_replace",
    State.UNKNOWN: "unknown",
    State.FILLED: "filled",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
    State.REJECTED: "rejected",
    State.DENIED: "denied",
}


def risk_record(  # noqa: PLR0917  one call per decision, on the way of an order
    action: str,
    request: Request,
    number: int,
    price: int | None,
    size: int,
    answer: Denied | dict[str, int],
    limits: str,
) -> JsonRecord:
    """A decision of the gate, or of the router before it. limits: which set was in force.

    answer: the refusal, or the figures of an approval.
    """
    denied = answer if isinstance(answer, Denied) else None
    return {
        "kind": "risk",
        "action": action,
        "verdict": "approved" if denied is None else "denied",
        "reason": "" if denied is None else denied.reason.name,
        "vector": 0 if denied is None else denied.vector,
        "number": number,
        "client_id": request.client_id,
        "strategy": request.strategy,
        "account": request.account,
        "venue": request.venue,
        "symbol": request.symbol,
        "instrument": request.instrument,
        "side": request.side,
        "price": price,
        "size": size,
        "time_in_force": request.time_in_force,
        "reduce_only": request.reduce_only,
        "figures": answer if denied is None else dict(denied.figures),
        "limits": limits,
    }


def order_record(
    order: Order, state: State, fill: Fill | None = None, *, reason: str = ""
) -> JsonRecord:
    """Where an order is now; price and size are the fill's, if it is one that is told.

    reason: why what was asked of it does not happen; its own otherwise.
    """
    request = order.request
    record: JsonRecord = {
        "kind": "order",
        "strategy": request.strategy,
        "client_id": request.client_id,
        "account": request.account,
        "number": order.number,
        "ref": order.ref,
        "venue_id": order.venue_id,
        "state": STATE_WORDS[state],
        "reason": reason or order.reason,
        "code": order.code,
        "venue": request.venue,
        "symbol": request.symbol,
        "instrument": request.instrument,
        "side": request.side,
        "order_price": order.price,
        "order_size": order.size,
        "cum_size": order.filled,
    }
    if fill is not None:
        record["price"] = fill.price
        record["size"] = fill.size
    return record


def execution_record(order: Order, fill: Fill) -> JsonRecord:
    """An execution that counts; `late`: of an order that was over, or more than it asked for."""
    request = order.request
    return {
        "kind": "execution",
        "number": order.number,
        "exec_id": fill.exec_id,
        "client_id": request.client_id,
        "strategy": request.strategy,
        "account": request.account,
        "ref": order.ref,
        "venue_id": order.venue_id,
        "venue": request.venue,
        "symbol": request.symbol,
        "instrument": request.instrument,
        "side": request.side,
        "price": fill.price,
        "size": fill.size,
        "fee": fill.fee,
        "fee_currency": fill.fee_currency,
        "late": bool(fill.late),
        "ts_event_ns": fill.ts_event_ns,
    }


def audit_record(scope: str, key: str, *, operator: str, reason: str, source: str) -> JsonRecord:
    """What a person settled: an order that was in doubt, or what an account holds."""
    return {
        "kind": "audit",
        "action": "resolve",
        "scope": scope,
        "key": key,
        "operator": operator,
        "reason": reason,
        "source": source,
    }
