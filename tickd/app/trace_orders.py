"""Orders on their way out, for traces: when one was asked for, decided and written to its venue.

So are cancels and replaces that strategies ask for; those of people, of the kill switch and of the
reconciler belong to no batch. Heard from the control records, which all of them leave in the same
turn of the loop; only the end of the write is a broker's to tell. It decides nothing and keeps the
last thousand of either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import msgspec

from risk.approval import ApprovedOrder
from tickd.telemetry.traces import Action, OrderStamps

__all__ = ["TracedOrders"]

ORDERS_MAX: Final = 1_024


@final
class TracedOrders:
    """The stamps of the last orders. Loop thread only."""

    def __init__(self, mono_ns: Callable[[], int]) -> None:
        self._mono_ns: Final = mono_ns
        self._known: Final[dict[int, OrderStamps]] = {}  # by client id, oldest first
        self._changes: Final[deque[OrderStamps]] = deque(maxlen=ORDERS_MAX)
        # What a strategy asks for in this very step.
        self._change: OrderStamps | None = None
        # Decided and not written yet, by order number: one of a kind at a time.
        self._on_their_way: Final[dict[tuple[object, int], OrderStamps]] = {}
        self._causes: Final[deque[int]] = deque(maxlen=ORDERS_MAX)

    def hear(self, _frame_no: int, _recv_ns: int, payload: bytes) -> None:
        """Take a control record right behind its appending."""
        # The words may stand in a text; what is read says what it is.
        if b'"kind":"intent"' in payload:
            self._asked(_read(payload))
        elif b'"kind":"risk"' in payload:
            self._decided(_read(payload))
        elif b'"kind":"cancel"' in payload or b'"kind":"replace"' in payload:
            self._asked_to_change(_read(payload))
        elif b'"kind":"order"' in payload:
            self._told(_read(payload))

    def sent(self, approved: ApprovedOrder, began_ns: int) -> None:
        """A broker has written an order."""
        order = self._known.get(approved.request.client_id)
        if order is not None:
            order.send_ns, order.sent_ns = began_ns, self._mono_ns()

    def changed(self, action: Action, number: int, began_ns: int) -> None:
        """A broker has written a cancel or replace of an order."""
        change = self._on_their_way.pop((action, number), None)
        if change is not None:
            change.send_ns, change.sent_ns = began_ns, self._mono_ns()

    def asking(self, trade: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        """Return `trade`, which answers in its own step or never.

        What gets no answer (it was asked for before, the order is over) gets nobody else's.
        """

        def traced(fields: dict[str, Any]) -> None:
            try:
                trade(fields)
            finally:
                self._change = None

        return traced

    def take_causes(self) -> list[int]:
        """Return the frames of the events that something new was asked for at."""
        causes = list(self._causes)
        self._causes.clear()
        return causes

    def within(self, frame_first: int, frame_last: int) -> tuple[OrderStamps, ...]:
        """Return those that were asked for at an event of these frames."""
        known = (*self._known.values(), *self._changes)
        return tuple(each for each in known if frame_first <= each.seq >> 16 <= frame_last)

    def _asked(self, fields: Mapping[str, Any]) -> None:
        seq = fields.get("seq")  # the one field that nobody has checked
        if fields.get("kind") != "intent" or type(seq) is not int:
            return
        while len(self._known) >= ORDERS_MAX:
            del self._known[next(iter(self._known))]
        self._known[fields["client_id"]] = OrderStamps(
            client_id=fields["client_id"],
            seq=seq,
            strategy=fields["strategy"],
            venue=fields["venue"],
            asked_ns=self._mono_ns(),
        )
        self._causes.append(seq >> 16)

    def _asked_to_change(self, fields: Mapping[str, Any]) -> None:
        action, seq = _change_of(fields.get("kind")), fields.get("seq")
        if action is None or type(seq) is not int:
            return
        change = OrderStamps(
            client_id=fields["client_id"],
            seq=seq,
            strategy=fields["strategy"],
            action=action,
            asked_ns=self._mono_ns(),
        )
        self._change = change
        self._changes.append(change)
        self._causes.append(seq >> 16)

    def _decided(self, fields: Mapping[str, Any]) -> None:
        action = _change_of(fields.get("action"))
        if action is not None:
            self._change_decided(action, fields)
            return
        order = self._known.get(fields.get("client_id", -1))
        if order is not None and fields.get("action") == "new" and not order.decided_ns:
            order.decided_ns, order.number = self._mono_ns(), fields["number"]
            order.verdict, order.reason = fields["verdict"], fields["reason"]

    def _change_decided(self, action: Action, fields: Mapping[str, Any]) -> None:
        """Take the router's answer to a cancel or replace, whoever asked for it."""
        number = fields.get("number", 0)
        self._on_their_way.pop((action, number), None)
        change = self._change
        if change is None or (change.action, change.client_id) != (action, fields.get("client_id")):
            return
        change.decided_ns, change.number, change.venue = self._mono_ns(), number, fields["venue"]
        change.verdict, change.reason = fields["verdict"], fields["reason"]
        if change.verdict == "approved":
            while len(self._on_their_way) >= ORDERS_MAX:
                del self._on_their_way[next(iter(self._on_their_way))]
            self._on_their_way[action, number] = change

    def _told(self, fields: Mapping[str, Any]) -> None:
        order = self._known.get(fields.get("client_id", -1))
        if order is None:
            return
        if fields.get("state") == "sent":
            order.send_ns = order.sent_ns = self._mono_ns()
        elif fields.get("state") == "denied" and not order.decided_ns:
            order.decided_ns, order.verdict = self._mono_ns(), "denied"
            order.reason = str(fields.get("reason", ""))


def _change_of(said: object) -> Action | None:
    """Return what a record says is to become of an order; None: it is no change."""
    if said == "cancel":
        return "cancel"
    return "replace" if said == "replace" else None


def _read(payload: bytes) -> Mapping[str, Any]:
    """A record, with integers of any size, which orjson refuses; nothing where it is none."""
    try:
        fields = msgspec.json.decode(payload)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
