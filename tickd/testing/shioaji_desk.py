"""A stand-in for Shioaji's broker at order entry: its orders, its messages, its faults by seed.

`OrderDesk.client` makes what `shioaji.Shioaji` makes (`shioaji_desk_client.py`). Orders are filled
when a test says so. No market data, no network.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Event
from typing import Any, Final, NamedTuple, final

import shioaji

from tickd.testing.shioaji_desk_client import DeskClient
from tickd.testing.shioaji_trades import Deal, Health, Position, Trade

__all__ = ["DeskFault", "OrderDesk"]

WHEN: Final = 1_784_000_000.25  # seconds, UTC; 2026-07-14


class DeskFault(NamedTuple):
    """Something that goes wrong with the `order`-th order (from 1).

    kind: `ack_lost` (neither answer nor order message comes), `ack_late` (both wait for
    `OrderDesk.release`), `deal_first` (`value` of it trade before its order message), `phantom`
    (a New message after it was filled), `reject` (op_code `value`), `failed` (the answer says
    Failed, with `words`), `unknown` (the call raises OrderOutcomeUnknownError, and the order is
    there), `raise` (the call raises `words`, an exception of the SDK; nothing is taken), `down`
    (the session ends behind the write, before any answer), `duplicate` (every message comes
    `value` times more), `silent` (no `cb=` answer comes; messages do).
    """

    order: int
    kind: str
    value: int = 0
    words: str = ""


@final
@dataclass
class OrderDesk:
    """The broker. Its figures may be read at any time."""

    seed: int = 0
    market: str = "stock"  # of the login's one account
    faults: Sequence[DeskFault] = ()
    codes: tuple[str, ...] = ("2330", "TXFF6")
    skew_seconds: float = 0.0  # of the venue's clock
    reorders: bool = False  # messages wait in `held` until `shuffle`
    has_records: bool = True  # the test environment has none
    balance: float = 1_000_000.5
    trades: list[Trade] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    clients: list[DeskClient] = field(default_factory=list)
    login_faults: deque[Exception] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - a test's dice
        self.calls: Counter[str] = Counter()
        self.placed: list[Any] = []  # the SDK's order objects, as they came
        self.sequence: list[tuple[str, str]] = []  # (call, custom field) in order of arrival
        self.records: list[tuple[Any, dict[str, Any]]] = []
        self.held: list[tuple[Any, dict[str, Any]]] = []
        self.late: list[Callable[[], object]] = []
        self.callback_threads: set[int] = set()
        self.call_threads: set[int] = set()
        self.health = Health(shioaji.TradeCacheHealthState.Healthy)
        self.gate = Event()  # cleared: order calls hang until it is set
        self.gate.set()
        kind = shioaji.AccountType.Stock if self.market == "stock" else shioaji.AccountType.Future
        broker = "9A95" if self.market == "stock" else "F002"
        self.account = shioaji.Account(kind, "A123456789", broker, "1234567", True, "tester")

    def client(self, simulation: bool = False) -> DeskClient:  # noqa: FBT001, FBT002 - the SDK's
        made = DeskClient(self, simulation=simulation)
        self.clients.append(made)
        return made

    @property
    def newest(self) -> DeskClient:
        return self.clients[-1]

    def close(self) -> None:
        self.gate.set()
        for client in self.clients:
            client.thread.shutdown(wait=True, cancel_futures=True)
            client.answers.shutdown(wait=True, cancel_futures=True)

    def fault(self, kind: str, number: int) -> DeskFault | None:
        """The fault of that kind for the `number`-th order, if any."""
        return next((each for each in self.faults if each[:2] == (number, kind)), None)

    def trade(self, ref: str) -> Trade:
        """The order that carries our `ref`."""
        return next(each for each in self.trades if each.order.custom_field == ref)

    def number(self, trade: Trade) -> int:
        return self.trades.index(trade) + 1

    # The market ---------------------------------------------------------------------------------

    def fill(self, ref: str, quantity: int, price: float, *, tells: bool = True) -> None:
        """`quantity` of an order trades; `tells` False: the message is lost."""
        trade = self.trade(ref)
        status, order = trade.status, trade.order
        status.deal_quantity = (status.deal_quantity or 0) + quantity
        # Another number than the message's `exchange_seq`, as the documentation shows it.
        status.deals.append(Deal(f"{len(status.deals) + 1:06}", price, quantity, self.now()))
        left = order.quantity - status.deal_quantity - (status.cancel_quantity or 0)
        status.status = shioaji.OrderStatus.Filled if left == 0 else shioaji.OrderStatus.PartFilled
        message = self._deal(trade, quantity, price)
        kind = shioaji.OrderState.StockDeal
        if self.market != "stock":
            kind = shioaji.OrderState.FuturesDeal
        if tells:
            self.tell(kind, message, trade)
        else:
            self.records.append((kind, message))
        if self.fault("phantom", self.number(trade)):
            self.tell_order(trade, "New")

    def now(self) -> float:
        return WHEN + self.skew_seconds

    def shuffle(self) -> None:
        """Deliver what was held, in an order that the seed draws."""
        held, self.held = self.held, []
        self.random.shuffle(held)
        for state, message in held:
            self.newest.call_back(state, message)

    def release(self) -> None:
        """Deliver the late answers and messages."""
        late, self.late = self.late, []
        for each in late:
            each()

    # Messages -----------------------------------------------------------------------------------

    def tell_order(self, trade: Trade, op: str, code: str = "00", words: str = "") -> None:
        stock = self.market == "stock"
        order, status = trade.order, trade.status
        detail = {
            "id": order.id,
            "seqno": order.seqno,
            "ordno": order.ordno,
            "action": order.action.value,
            "price": order.price,
            "quantity": order.quantity,
            "time_in_force": order.time_in_force.value,
            "price_type": order.price_type.value,
        }
        if stock:  # those of futures do not carry our field
            detail |= {"order_lot": order.order_lot.value, "custom_field": order.custom_field}
        message = {
            "event_id": f"v1:orders:1:{self.random.getrandbits(48)}",
            "operation": {"op_type": op, "op_code": code, "op_msg": words},
            "order": detail,
            "status": {
                "id": order.id,
                "exchange_ts": self.now(),
                "modified_price": status.modified_price or 0.0,
                "cancel_quantity": status.cancel_quantity or 0,
                "order_quantity": order.quantity,
                "web_id": "137",
            },
            "contract": {
                "security_type": "STK" if stock else "FUT",
                "exchange": "TSE" if stock else "TAIFEX",
                "code": trade.contract.code if stock else trade.contract.code[:3],
                # A futures contract's `code` is its product, as the documentation shows it.
                "full_code": "" if stock else trade.contract.code,
            },
        }
        states = shioaji.OrderState
        self.tell(states.StockOrder if stock else states.FuturesOrder, message, trade)

    def _deal(self, trade: Trade, quantity: int, price: float) -> dict[str, Any]:
        order, stock = trade.order, self.market == "stock"
        message = {
            "event_id": f"v1:deals:1:{self.random.getrandbits(48)}",
            "trade_id": order.id,
            "seqno": order.seqno,
            "ordno": order.ordno if stock else f"{order.ordno}{len(trade.status.deals):03}",
            "exchange_seq": f"j{self.random.randrange(10**7):07}",
            "action": order.action.value,
            "code": trade.contract.code if stock else trade.contract.code[:3],
            "price": price,
            "quantity": quantity,
            "ts": self.now(),
        }
        if stock:
            lot = order.order_lot.value
            return message | {"custom_field": order.custom_field, "order_lot": lot}
        return message | {"full_code": trade.contract.code, "security_type": "FUT"}

    def tell(self, state: Any, message: dict[str, Any], trade: Trade) -> None:
        """Deliver a message, as often and in the order that the faults say."""
        self.records.append((state, message))
        again = self.fault("duplicate", self.number(trade))
        for _ in range(1 + (again.value if again else 0)):
            if self.reorders:
                self.held.append((state, message))
            else:
                self.newest.call_back(state, message)
