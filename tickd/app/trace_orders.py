"""Orders on their way out, for traces: when one was asked for, decided and written to its venue.

Heard from the control records, which every order leaves in the same turn of the loop; only the end
of the write is a broker's to tell. It decides nothing and keeps the last thousand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import msgspec

from risk.approval import ApprovedOrder
from tickd.telemetry.traces import OrderStamps

__all__ = ["TracedOrders"]

ORDERS_MAX: Final = 1_024


@final
class TracedOrders:
    """The stamps of the last orders. Loop thread only."""

    def __init__(self, mono_ns: Callable[[], int]) -> None:
        self._mono_ns: Final = mono_ns
        self._known: Final[dict[int, OrderStamps]] = {}  # by client id, oldest first
        self._causes: Final[deque[int]] = deque(maxlen=ORDERS_MAX)

    def hear(self, _frame_no: int, _recv_ns: int, payload: bytes) -> None:
        """Take a control record right behind its appending."""
        # The words may stand in a text; what is read says what it is.
        if b'"kind":"intent"' in payload:
            self._asked(_read(payload))
        elif b'"kind":"risk"' in payload:
            self._decided(_read(payload))
        elif b'"kind":"order"' in payload:
            self._told(_read(payload))

    def sent(self, approved: ApprovedOrder, began_ns: int) -> None:
        """A broker has written an order."""
        order = self._known.get(approved.request.client_id)
        if order is not None:
            order.send_ns, order.sent_ns = began_ns, self._mono_ns()

    def take_causes(self) -> list[int]:
        """Return the frames of the events that new orders were asked for at."""
        causes = list(self._causes)
        self._causes.clear()
        return causes

    def within(self, frame_first: int, frame_last: int) -> tuple[OrderStamps, ...]:
        """Return those that were asked for at an event of these frames."""
        known = self._known.values()
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

    def _decided(self, fields: Mapping[str, Any]) -> None:
        order = self._known.get(fields.get("client_id", -1))
        if order is not None and fields.get("action") == "new" and not order.decided_ns:
            order.decided_ns, order.number = self._mono_ns(), fields["number"]
            order.verdict, order.reason = fields["verdict"], fields["reason"]

    def _told(self, fields: Mapping[str, Any]) -> None:
        order = self._known.get(fields.get("client_id", -1))
        if order is None:
            return
        if fields.get("state") == "sent":
            order.send_ns = order.sent_ns = self._mono_ns()
        elif fields.get("state") == "denied" and not order.decided_ns:
            order.decided_ns, order.verdict = self._mono_ns(), "denied"
            order.reason = str(fields.get("reason", ""))


def _read(payload: bytes) -> Mapping[str, Any]:
    """A record, with integers of any size, which orjson refuses; nothing where it is none."""
    try:
        fields = msgspec.json.decode(payload)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
