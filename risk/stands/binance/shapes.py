"""The JSON of both markets, made of the stand-in's account: answers, events, lists.

Pure; the names are Binance's. It decides nothing.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from risk.stands.binance.account import Account, Change, Order, Trade

__all__ = ["Shapes"]

Json = dict[str, Any]
EIGHT: Final = Decimal("1.00000000")


class Shapes:
    """How one market says things. Spot prints eight decimals, USD-M what it needs."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._spot = account.market == "spot"

    def text(self, value: Decimal) -> str:
        return f"{value.quantize(EIGHT):f}" if self._spot else f"{value.normalize():f}"

    # Answers to order requests --------------------------------------------------------------

    def placed(self, order: Order) -> Json:
        if self._spot:
            return {
                "symbol": order.symbol,
                "orderId": order.number,
                "orderListId": -1,
                "clientOrderId": order.client_id,
                "transactTime": order.update_ms,
            }
        # An ACK of USD-M tells how the order came in, whatever happened to it since.
        return self.listed(order) | {"status": "NEW", "executedQty": "0", "cumQty": "0"}

    def cancelled(self, order: Order, cancel_id: str) -> Json:
        if self._spot:
            return self.listed(order) | {
                "origClientOrderId": order.client_id,
                "clientOrderId": cancel_id,
                "transactTime": order.update_ms,
            }
        return self.listed(order)

    def amended(self, order: Order) -> Json:
        if not self._spot:
            return self.listed(order)
        inner = self.listed(order)
        inner["qty"] = inner.pop("origQty")
        inner["origClientOrderId"] = order.client_id
        return {"transactTime": order.update_ms, "executionId": 22, "amendedOrder": inner}

    # Events ---------------------------------------------------------------------------------

    def event(self, change: Change) -> Json:
        order, trade = change.order, change.trade
        inner: Json = {
            "s": order.symbol,
            "c": order.client_id,
            "S": order.side,
            "o": order.kind,
            "f": order.time_in_force,
            "q": self.text(order.size),
            "p": self.text(order.price),
            "x": change.execution,
            "X": order.status,
            "i": order.number,
            "l": self.text(trade.size if trade else Decimal(0)),
            "z": self.text(order.filled),
            "L": self.text(trade.price if trade else Decimal(0)),
            "T": change.time_ms,
            "m": False,
        }
        if self._spot:
            return self._execution_report(change, inner)
        inner |= {
            "ap": self.text(order.paid / order.filled if order.filled else Decimal(0)),
            "sp": "0",
            "t": trade.number if trade else 0,
            "R": order.reduce_only,
            "ps": "BOTH",
            "ot": order.kind,
            "cp": False,
            "rp": "0",
            "V": "NONE",
        }
        if trade is not None:
            inner |= {"n": self.text(trade.fee), "N": trade.fee_asset}
        return {
            "e": "ORDER_TRADE_UPDATE",
            "E": change.time_ms,
            "T": change.time_ms,
            "o": inner,
        }

    def _execution_report(self, change: Change, inner: Json) -> Json:
        trade = change.trade
        report: Json = {
            "e": "executionReport",
            "E": change.time_ms,
            **inner,
            "P": "0.00000000",
            "F": "0.00000000",
            "g": -1,
            "C": "",
            "r": "NONE",
            "n": self.text(trade.fee) if trade else "0",
            "N": trade.fee_asset if trade else None,
            "t": trade.number if trade else -1,
            "I": 8_641_984,
            "w": change.order.status in {"NEW", "PARTIALLY_FILLED"},
            "M": False,
            "O": change.order.time_ms,
            "V": "NONE",
        }
        if change.cancel_id:
            # The cancel has the id of its own; the order's stands in C.
            report |= {"c": change.cancel_id, "C": change.order.client_id}
        return report

    # Lists ----------------------------------------------------------------------------------

    def listed(self, order: Order) -> Json:
        return {
            "symbol": order.symbol,
            "orderId": order.number,
            "clientOrderId": order.client_id,
            "price": self.text(order.price),
            "origQty": self.text(order.size),
            "executedQty": self.text(order.filled),
            "status": order.status,
            "timeInForce": order.time_in_force,
            "type": order.kind,
            "side": order.side,
            "time": order.time_ms,
            "updateTime": order.update_ms,
        }

    def traded(self, trade: Trade) -> Json:
        return {
            "symbol": trade.order.symbol,
            "id": trade.number,
            "orderId": trade.order.number,
            "price": self.text(trade.price),
            "qty": self.text(trade.size),
            "commission": self.text(trade.fee),
            "commissionAsset": trade.fee_asset,
            "time": trade.time_ms,
        }

    def positions(self) -> list[Json]:
        side = "LONG" if self._account.is_hedged else "BOTH"
        return [
            {"symbol": symbol, "positionSide": side, "positionAmt": self.text(size)}
            for symbol, size in self._account.held.items()
        ]

    def account(self) -> Json:
        account = self._account
        money = f"{account.money.quantize(EIGHT):f}"
        if self._spot:
            balances = [{"asset": account.currency, "free": money, "locked": "0.00000000"}]
            balances += [
                {
                    "asset": symbol.removesuffix(account.currency),
                    "free": self.text(size),
                    "locked": "0.00000000",
                }
                for symbol, size in account.held.items()
            ]
            return {"accountType": "SPOT", "balances": balances}
        asset = {
            "asset": account.currency,
            "walletBalance": money,
            "unrealizedProfit": "0.00000000",
            "marginBalance": money,
            "availableBalance": money,
            "initialMargin": "0.00000000",
        }
        return {"totalWalletBalance": money, "assets": [asset], "positions": []}
