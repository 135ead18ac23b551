"""What `shioaji.Shioaji` makes, as far as order entry goes: the stand-in's client.

Orders are objects of the SDK's own classes, errors its own exceptions. Messages come on one foreign
thread, the answers of calls on another. What happens to an order `shioaji_desk.py` says.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, final

import shioaji

from tickd.testing.shioaji_trades import (
    Balance,
    Health,
    HealthReason,
    MarginFigures,
    OrderResult,
    OrderStatusInfo,
    Position,
    Trade,
)

if TYPE_CHECKING:
    from tickd.testing.shioaji_desk import OrderDesk

__all__ = ["DeskClient"]

OVER: Final = frozenset({"Filled", "Cancelled", "Failed"})


class _Contracts:
    """What `api.contracts` is."""

    def __init__(self, client: DeskClient) -> None:
        self._client = client

    def get(self, code: str) -> Any:
        self._client.refuse_strangers()
        alias = {"TXFR1": "TXFF6"}.get(code)
        if (alias or code) not in self._client.desk.codes:
            return None
        if self._client.desk.market == "stock":
            return shioaji.BaseContract("STK", "TSE", code)
        return shioaji.BaseContract("FUT", "TAIFEX", code, alias)


@final
class DeskClient:
    """See the module."""

    def __init__(self, desk: OrderDesk, *, simulation: bool) -> None:
        self.desk = desk
        self.simulation = simulation
        self.logged_in = False
        self.is_dead = False  # looks logged in, answers nothing, delivers nothing
        self.has_ca = False
        self.subscribed: list[Any] = []
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="desk messages")
        self.answers = ThreadPoolExecutor(1, thread_name_prefix="desk answers")
        self._on: dict[str, Callable[..., object]] = {}

    # Session ------------------------------------------------------------------------------------

    def login(
        self,
        api_key: str,
        secret_key: str,
        subscribe_trade: bool = True,  # noqa: FBT001, FBT002 - the SDK's
    ) -> list[Any]:
        assert subscribe_trade
        self.desk.calls["login"] += 1
        if self.desk.login_faults:
            fault = self.desk.login_faults.popleft()
            raise type(fault)(f"{fault}: {api_key}/{secret_key}")
        self.logged_in = True
        self.session(0)
        return [self.desk.account]

    def logout(self) -> None:
        self.refuse_strangers()
        self.logged_in = False
        self.desk.calls["logout"] += 1

    def activate_ca(self, ca_path: str, ca_passwd: str, person_id: str | None = None) -> bool:
        del person_id
        self.refuse_strangers()
        if ca_passwd == "wrong":  # noqa: S105 - no password of anybody
            raise shioaji.CaPasswordError(f"Ca Password Incorrect: {ca_path} {ca_passwd}")
        self.has_ca = True
        return True

    def subscribe_trade(self, account: Any) -> bool:
        self.subscribed.append(account)
        return True

    def usage(self, timeout: int = 30_000) -> None:
        self._answer_or_die(timeout)
        self.desk.calls["usage"] += 1

    def set_event_callback(self, callback: Callable[[int, int, str, str], object]) -> None:
        self._on["event"] = callback

    def set_order_callback(self, callback: Callable[[Any, Any], object]) -> None:
        self.refuse_strangers()
        self._on["order"] = callback

    def set_session_down_callback(self, callback: Callable[[], object]) -> None:
        self.refuse_strangers()
        self._on["down"] = callback

    def refuse_strangers(self) -> None:
        if not self.logged_in:
            raise shioaji.AuthError("Not authenticated")

    def _answer_or_die(self, timeout: int) -> None:
        self.refuse_strangers()
        if self.is_dead:
            raise shioaji.ShioajiTimeoutError(f"Timeout Topic: api, Corr: 1, Timeout: {timeout}ms")

    def session(self, code: int) -> None:
        """A session event, behind what is being delivered."""
        self._submit(self.thread, "event", 200 if code in (0, 13) else 503, code, "", "event")

    def call_back(self, state: Any, message: Any) -> None:
        if not self.is_dead:
            self._submit(self.thread, "order", state, message)

    def _submit(self, pool: ThreadPoolExecutor, kind: str, *arguments: object) -> None:
        def run() -> None:
            self.desk.callback_threads.add(get_ident())
            callback = self._on.get(kind)
            if callback is not None:
                callback(*arguments)

        pool.submit(run)

    # Orders -------------------------------------------------------------------------------------

    @property
    def contracts(self) -> _Contracts:
        return _Contracts(self)

    def place_order(
        self, contract: Any, order: Any, timeout: int, cb: Callable[[Any], None]
    ) -> Any:
        assert timeout == 0
        desk = self.desk
        self._enter("place", order.custom_field)
        if not (self.simulation or self.has_ca):
            raise shioaji.CaError(f"CA not activated for: {desk.account.person_id}")
        number = len(desk.placed) + 1
        desk.placed.append(order)
        if fault := desk.fault("raise", number):
            desk.trades.append(self._trade(contract, order, number))  # keeps the count
            desk.trades[-1].status.status = shioaji.OrderStatus.Failed
            raise getattr(shioaji, fault.words)("refused by the stand-in")
        placeholder = self._trade(contract, order, number)
        trade = placeholder.copy()
        order_id = f"{desk.random.getrandbits(32):08x}"
        trade.order.id = trade.status.id = order_id
        trade.order.seqno, trade.order.ordno = f"{number:06}", f"W{number:04}"
        trade.status.status = shioaji.OrderStatus.PendingSubmit
        desk.trades.append(trade)
        if desk.fault("unknown", number):
            raise shioaji.OrderOutcomeUnknownError("OrderOutcomeUnknown")
        self._acknowledge(trade, number, cb)
        return placeholder

    def _acknowledge(self, trade: Trade, number: int, cb: Callable[[Any], None]) -> None:
        desk = self.desk
        if desk.fault("ack_lost", number):
            return
        if desk.fault("down", number):
            self.session(1)
            return

        def both() -> None:
            if fault := desk.fault("failed", number):
                trade.status.status = shioaji.OrderStatus.Failed
                trade.status.msg = fault.words
                self.answer(trade, cb)
                return
            if not desk.fault("silent", number):
                self.answer(trade, cb)
            if fault := desk.fault("reject", number):
                trade.status.status = shioaji.OrderStatus.Failed
                desk.tell_order(trade, "New", f"{fault.value}", "退單")
                return
            trade.status.status = shioaji.OrderStatus.Submitted
            if fault := desk.fault("deal_first", number):
                desk.fill(trade.order.custom_field or "", fault.value, trade.order.price)
            desk.tell_order(trade, "New")

        if desk.fault("ack_late", number):
            desk.late.append(both)
        else:
            both()

    def answer(self, trade: Trade, cb: Callable[[Any], None]) -> None:
        """The answer of one call: a copy, on a thread of its own."""
        handed = trade.copy()
        self.answers.submit(cb, handed)

    @staticmethod
    def _trade(contract: Any, order: Any, number: int) -> Trade:
        del number
        result = OrderResult(
            action=order.action,
            price=order.price,
            quantity=order.quantity,
            time_in_force=order.time_in_force,
            price_type=order.price_type,
            custom_field=order.custom_field,
            account=order.account,
            order_cond=getattr(order, "order_cond", None),
            order_lot=getattr(order, "order_lot", None),
            octype=getattr(order, "octype", None),
        )
        return Trade(contract, result, OrderStatusInfo())

    def _enter(self, call: str, ref: str | None) -> None:
        """One order call arrives; it may hang in the SDK."""
        self.refuse_strangers()
        desk = self.desk
        desk.call_threads.add(get_ident())
        desk.calls[call] += 1
        desk.sequence.append((call, ref or ""))
        desk.gate.wait()
        if self.is_dead:
            raise shioaji.ShioajiConnectionError("Solace session is gone")

    def _known(self, trade: Any) -> Trade:
        mine = next((each for each in self.desk.trades if each.order.id == trade.order.id), None)
        if not trade.order.id or mine is None:
            raise shioaji.ShioajiValueError(f"Trade {trade.order.id} not found in cache")
        return mine

    def cancel_order(self, trade: Any, timeout: int, cb: Callable[[Any], None]) -> Any:
        assert timeout == 0
        self._enter("cancel", trade.order.custom_field)
        mine = self._known(trade)
        status = mine.status
        if status.status.value in OVER:
            self.desk.tell_order(mine, "Cancel", "88", "無法刪單")
            return mine.copy()
        status.cancel_quantity = mine.order.quantity - (status.deal_quantity or 0)
        status.status = shioaji.OrderStatus.Cancelled
        self.answer(mine, cb)
        self.desk.tell_order(mine, "Cancel")
        return mine.copy()

    def update_order(
        self,
        trade: Any,
        price: float | None = None,
        qty: int | None = None,
        timeout: int = 30_000,
        cb: Callable[[Any], None] | None = None,
    ) -> Any:
        assert timeout == 0
        assert cb is not None
        self._enter("update", trade.order.custom_field)
        mine = self._known(trade)
        if price is not None:
            mine.status.modified_price = price
        else:
            assert qty is not None
            mine.status.cancel_quantity = (mine.status.cancel_quantity or 0) + qty
        self.answer(mine, cb)
        self.desk.tell_order(mine, "UpdatePrice" if price is not None else "UpdateQty")
        return mine.copy()

    # Lists --------------------------------------------------------------------------------------

    def update_status(self, account: Any, *, timeout: int = 30_000) -> None:
        assert account.account_id == self.desk.account.account_id
        self._answer_or_die(timeout)
        self.desk.calls["update_status"] += 1

    def list_trades(self) -> list[Trade]:
        self.refuse_strangers()
        return [each.copy() for each in self.desk.trades]

    def order_deal_records(self, account: Any) -> list[tuple[Any, dict[str, Any]]]:
        del account
        self._answer_or_die(30_000)
        has = self.desk.has_records and not self.simulation
        return list(self.desk.records) if has else []

    def list_positions(self, account: Any, unit: str) -> list[Position]:
        del account
        assert unit == ("Share" if self.desk.market == "stock" else "Common")
        self._answer_or_die(30_000)
        return list(self.desk.positions)

    def account_balance(self, account: Any) -> Balance:
        del account
        self._answer_or_die(30_000)
        return Balance(0.0 if self.simulation else self.desk.balance)

    def margin(self, account: Any) -> MarginFigures:
        del account
        self._answer_or_die(30_000)
        return MarginFigures(self.desk.balance, 400_000.25, 184_000.0, -1_200.0, 0.0)

    def trade_cache_health(self, account: Any) -> Health:
        del account
        self.refuse_strangers()
        return self.desk.health

    def degrade(self, reason: str) -> None:
        """The cache's health says `reason` from now on."""
        codes = shioaji.TradeCacheHealthReasonCode
        states = shioaji.TradeCacheHealthState
        why = HealthReason(shioaji.OrderState.StockDeal, getattr(codes, reason))
        self.desk.health = Health(states.Degraded, [why])
