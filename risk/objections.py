"""What stands against a request before the gate is asked: the state of things, not a limit.

Pure questions; nothing is recorded and nothing is changed here.
"""

from __future__ import annotations

from risk.brokers.port import Broker
from risk.order_facts import Order, State
from risk.order_table import OrderTable
from risk.orders import Request
from risk.reasons import Reason

__all__ = ["against_order", "against_replace"]


def against_order(
    request: Request,
    broker: Broker | None,
    table: OrderTable,
    *,
    is_recovered: bool,
    is_outbox_up: bool,
) -> Reason | None:
    """What stands against a new order now; `broker`: of its account."""
    if broker is None:
        return Reason.MISSING_ACCOUNT
    if not is_recovered:
        return Reason.NOT_RECONCILED
    if not is_outbox_up:
        return Reason.OUTBOX
    if table.has_unknown_twin(request):
        return Reason.UNKNOWN_TWIN
    return None if broker.is_up else Reason.BROKER_DOWN


def against_replace(
    order: Order, price: int | None, *, is_cancel_wished: bool, is_outbox_up: bool
) -> Reason | None:
    """What stands against another `price` and size of an order that is not over."""
    if order.cancel_asked or is_cancel_wished:
        return Reason.NO_SUCH_ORDER
    if price is None:
        return Reason.MALFORMED  # a market order has no price that it could keep
    if order.state is State.UNKNOWN:
        return Reason.UNKNOWN_TWIN
    if order.replace_asked or order.state is State.PENDING_NEW:
        return Reason.DUPLICATE
    return None if is_outbox_up else Reason.OUTBOX
