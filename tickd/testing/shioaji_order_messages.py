"""Order and deal messages as Shioaji's callbacks bring them, for tests.

Their fields are those of the SDK's own typed dicts (1.7.9); the values are the documentation's
examples, https://sinotrade.github.io/tutor/callback/orderdeal_event/, read 2026-11-21.
"""

from __future__ import annotations

from typing import Any

__all__ = ["deal_message", "order_message"]


def order_message(
    *,
    op: str = "New",
    code: str = "00",
    words: str = "",
    order_id: str = "de616839",
    ref: str = "00000A",
    order_lot: str = "Common",
    quantity: int = 3,
    cancelled: int = 0,
    modified_price: float = 0.0,
    event_id: str = "",
) -> dict[str, Any]:
    """Of a stock order."""
    return {
        "event_id": event_id,
        "operation": {"op_type": op, "op_code": code, "op_msg": words},
        "order": {
            "id": order_id,
            "seqno": "500009",
            "ordno": "Y29J1",
            "action": "Buy",
            "price": 580.5,
            "quantity": quantity,
            "time_in_force": "ROD",
            "price_type": "LMT",
            "order_cond": "Cash",
            "order_lot": order_lot,
            "custom_field": ref,
        },
        "status": {
            "id": order_id,
            "exchange_ts": 1673334371.492948,
            "modified_price": modified_price,
            "cancel_quantity": cancelled,
            "order_quantity": quantity,
            "web_id": "137",
        },
        "contract": {"security_type": "STK", "exchange": "TSE", "code": "2330"},
    }


def deal_message(*, futures: bool = False, **changes: Any) -> dict[str, Any]:
    """Of a stock, or of a futures contract: whose `code` is its product."""
    message: dict[str, Any] = {
        "event_id": "",
        "trade_id": "de616839",
        "seqno": "458545",
        "ordno": "tA0deX1O" if futures else "Y29J1",
        "exchange_seq": "j5006396",
        "action": "Buy",
        "code": "TXF" if futures else "2330",
        "price": 580.5,
        "quantity": 2,
        "ts": 1673334371.492948,
    }
    if futures:
        message |= {"full_code": "TXFF6", "security_type": "FUT", "market_type": "Day"}
    else:
        message |= {"custom_field": "00000A", "order_lot": "Common", "order_cond": "Cash"}
    return message | changes
