"""The stand-in's middle: takes requests, keeps the account, tells the listeners, does the faults.

It speaks no transport itself; connections are `Listener`s that it sends texts to and cuts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from risk.stands.binance.access import Access, Refused
from risk.stands.binance.account import Account, Change, Order, RefusedError
from risk.stands.binance.faults import Fault, Faults
from risk.stands.binance.shapes import Json, Shapes
from tickd.ports import Clock

__all__ = ["Listener", "Venue"]

NS_PER_MS: Final = 1_000_000
SOON_S: Final = 0.01  # how often countdowns are looked at, as the venue says of itself
_AMENDS: Final = {"spot": "order.amend.keepPriority", "usdm": "order.modify"}


class Listener(Protocol):
    """A connection."""

    async def say(self, text: str) -> None:
        """Send a text message; lost when the connection is gone. Raises nothing."""

    def cut(self) -> None:
        """End the connection without a word. Raises nothing."""


class Venue:
    """One account behind one API key."""

    def __init__(self, account: Account, access: Access, faults: Faults, clock: Clock) -> None:
        self.account: Final = account
        self.access: Final = access
        self.faults: Final = faults
        self.shapes: Final = Shapes(account)
        self.clock: Final = clock
        self.skew_ms = 0
        self.takes_sockets = True  # else WebSockets are refused, REST goes on
        self.connections: list[Listener] = []
        self.listeners: list[Listener] = []  # of the user data stream
        self.requests: list[Json] = []  # every order request, as it came
        self.countdowns: dict[str, int] = {}  # symbol -> monotonic end
        self.countdown_calls = 0
        self.tasks: asyncio.TaskGroup | None = None

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // NS_PER_MS + self.skew_ms

    # Connections ----------------------------------------------------------------------------

    def gone(self, listener: Listener) -> None:
        for each in (self.connections, self.listeners):
            if listener in each:
                each.remove(listener)

    def cut_all(self) -> None:
        for each in list(self.connections):
            each.cut()
            self.gone(each)

    # Orders ---------------------------------------------------------------------------------

    def do(self, method: str, asked: dict[str, str]) -> tuple[list[Change], Json]:
        """Carry out an order request: what changed, and the answer. Raises RefusedError."""
        account, now_ms = self.account, self.now_ms
        if method == "order.place":
            changes = account.place(asked, now_ms)
            return changes, self.shapes.placed(changes[0].order)
        order = account.find(asked)
        if method == "order.cancel":
            # A cancel over spot's API has a client id of its own.
            own = f"cxl_{len(self.requests)}" if account.market == "spot" else ""
            changes = account.cancel(order, now_ms, own)
            return changes, self.shapes.cancelled(changes[0].order, own)
        if method != _AMENDS[account.market]:
            raise RefusedError(-1020, "This operation is not supported.")
        price = Decimal(asked["price"]) if "price" in asked else None
        changes = account.amend(
            order, Decimal(asked.get("newQty") or asked["quantity"]), price, now_ms
        )
        if account.market == "spot":
            order.client_id = asked.get("newClientOrderId") or f"amended_{order.number}"
            changes = [
                replace(changes[0], order=replace(changes[0].order, client_id=order.client_id))
            ]
        return changes, self.shapes.amended(changes[0].order)

    async def request(
        self, listener: Listener, request_id: object, method: str, asked: dict[str, str]
    ) -> None:
        """An order request whose signature is good: answer it, or fail at it as told."""
        fault = self.faults.take(method)
        kind = fault.kind if fault else ""
        self.requests.append({"method": method, "fault": kind, **asked})
        if kind == "disconnect_before":
            self.cut_all()
            return
        if kind == "reject":
            refusal = (400, -2010, "Account has insufficient balance for requested action.")
            await listener.say(refused(request_id, refusal))
            return
        try:
            changes, result = self.do(method, asked)
        except RefusedError as error:
            await listener.say(refused(request_id, (400, error.code, error.words)))
            return
        said = msgspec.json.encode(
            {"id": request_id, "status": 200, "result": result, "rateLimits": []}
        ).decode()
        if fault is None:
            await listener.say(said)
            await self.tell(changes)
        elif kind == "disconnect_after_write":
            self.cut_all()
        elif kind != "silent":
            await self._fail(listener, request_id, fault, changes, said)

    async def _fail(
        self, listener: Listener, request_id: object, fault: Fault, changes: list[Change], said: str
    ) -> None:
        order = self.account.orders[changes[0].order.number]
        match fault.kind:
            case "ack_lost":
                await self.tell(changes)
            case "event_lost":
                await listener.say(said)
            case "ack_late":
                await self.tell(changes)
                self._later(fault.ms / 1_000, lambda: listener.say(said))
            case "fill_before_ack":
                await self.tell(self._half(order))
                await self.tell(changes)
                await listener.say(said)
            case "phantom_new":
                await listener.say(said)
                await self.tell(changes)
                left = order.size - order.filled
                await self.tell(self.account.fill(order, left, self._price(order), self.now_ms))
                await self.tell(changes)
            case "duplicate":
                await listener.say(said)
                await self.tell([each for change in changes for each in (change, change)])
            case "reorder":
                await listener.say(said)
                await self.tell([*changes, *self._half(order)][::-1])
            case "status_5xx" | "unknown_status" | "garbage":
                await self.tell(changes)
                await listener.say(_mangled(fault.kind, request_id, said))
            case "unreadable_event":
                await listener.say(said)
                await self.tell(changes, spoil=True)
            case _:
                raise AssertionError(f"{fault.kind} is no fault of an order request")

    def _half(self, order: Order) -> list[Change]:
        return self.account.fill(order, order.size / 2, self._price(order), self.now_ms)

    def _price(self, order: Order) -> Decimal:
        return order.price or self.account.last_price

    def _later(self, seconds: float, work: Callable[[], Any]) -> None:
        async def run() -> None:
            await self.clock.sleep(seconds)
            await work()

        assert self.tasks is not None
        self.tasks.create_task(run(), name="late answer")

    # Events ---------------------------------------------------------------------------------

    async def tell(self, changes: list[Change], *, spoil: bool = False) -> None:
        for change in changes:
            event = self.shapes.event(change)
            if spoil:
                inner = event if self.account.market == "spot" else event["o"]
                inner["z"] = "1e3"
            await self.say(event)
            if change.trade is not None:
                await self.say({"e": self._money_event, "E": self.now_ms, "a": {}, "B": []})

    @property
    def _money_event(self) -> str:
        return "outboundAccountPosition" if self.account.market == "spot" else "ACCOUNT_UPDATE"

    async def say(self, event: Json) -> None:
        """Send an event of the user data stream to all who listen."""
        spot = self.account.market == "spot"
        text = msgspec.json.encode({"subscriptionId": 0, "event": event} if spot else event)
        for listener in list(self.listeners):
            await listener.say(text.decode())

    # The dead man's switch ------------------------------------------------------------------

    def count_down(self, symbol: str, countdown_ms: int) -> None:
        self.countdown_calls += 1
        self.countdowns.pop(symbol, None)
        if countdown_ms:
            self.countdowns[symbol] = self.clock.mono_ns() + countdown_ms * NS_PER_MS

    async def run_countdowns(self) -> None:
        """Cancel what is open in a symbol whose time is up; until cancelled."""
        while True:
            await self.clock.sleep(SOON_S)
            now_ns = self.clock.mono_ns()
            for symbol in [name for name, end in self.countdowns.items() if end <= now_ns]:
                del self.countdowns[symbol]
                for order in self.account.open_orders():
                    if order.symbol == symbol:
                        await self.tell(self.account.cancel(order, self.now_ms))


def refused(request_id: object, refusal: Refused) -> str:
    status, code, words = refusal
    error = {"code": code, "msg": words}
    return msgspec.json.encode({"id": request_id, "status": status, "error": error}).decode()


def _mangled(kind: str, request_id: object, said: str) -> str:
    if kind == "garbage":
        return said[: len(said) // 2]
    if kind == "status_5xx":
        return refused(request_id, (503, -1000, "An unknown error occurred."))
    return refused(request_id, (400, -1007, "Send status unknown; execution status unknown."))
