"""A router with the real gate and the real outbox before a venue in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from risk.approval import Denied
from risk.brokers.port import Broker
from risk.order_facts import Fill, Order
from risk.order_numbers import OrderNumbers
from risk.orders import Request, Snapshot
from risk.outbox import Outbox
from risk.router import Router
from risk.router_config import RouterConfig
from risk.settling import Alert
from tests.harness.gates import ACCOUNT, INSTRUMENT, START_NS, STRATEGY, Desk
from tests.harness.venue_model import VenueModel
from tickd.testing.clock import ManualClock

MS = 1_000_000
QUICK: dict[str, Any] = {
    "durability": "process",
    "ack_timeout_ms": 100,
    "resolve_interval_ms": 50,
    "reconcile_interval_ms": 1_000,
    "absence_ms_min": 200,
    "unknown_age_ms_max": 5_000,
    "cancel_all_timeout_ms": 2_000,
    "cancel_all_interval_ms": 50,
    "done_max": 256,
    "outbox_bytes_max": 1 << 18,
}


class World:
    """`restart` is a new life on the same files, before the same venue."""

    def __init__(self, folder: Path | None = None, *, desk: Desk | None = None, **config: Any):
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="tickd-orders-")
        self.folder = folder or Path(self._temporary.name)  # type: ignore[union-attr]
        self.config = RouterConfig(**{**QUICK, **config})
        self.clock = ManualClock(mono_ns=START_NS)
        self.venue = VenueModel(ACCOUNT, self.clock)
        self.brokers: dict[str, Broker] = {ACCOUNT: self.venue}
        self.records: list[dict[str, object]] = []
        self.alerts: list[Alert] = []
        self.fills: list[tuple[int, Fill]] = []
        self.halted: list[int] = []
        self.snapshots: list[Snapshot] = []
        self.clients = 0
        # Something that happens while a record is taken.
        self.on_record: Callable[[dict[str, object]], object] = lambda _record: None
        self._begin(desk or Desk("native"))

    def _begin(self, desk: Desk) -> None:
        self.desk = desk
        self.gate = desk.gate
        self.outbox = Outbox(
            self.folder / "outbox",
            durability=self.config.durability,
            bytes_max=self.config.outbox_bytes_max,
            clock=self.clock,
        )
        self.numbers = OrderNumbers(self.folder / "numbers", first=1)
        self.router = Router(
            self.config,
            gate=self.gate,
            brokers=self.brokers,
            outbox=self.outbox,
            numbers=self.numbers,
            clock=self.clock,
            record=self._record,
            on_fill=self._on_fill,
            on_alert=self.alerts.append,
            halt_instrument=lambda instrument, _why: self.halted.append(instrument),
            on_snapshot=lambda _account, snapshot: self.snapshots.append(snapshot),
        )
        self.venue.on_report = self.router.on_report
        self.recovered = self.router.recover()

    def _record(self, record: dict[str, object]) -> None:
        self.records.append(record)
        self.on_record(record)

    def _on_fill(self, order: Order, fill: Fill) -> None:
        self.fills.append((order.number, fill))

    def restart(self, desk: Desk | None = None) -> None:
        self.end()
        self._begin(desk or Desk("native"))

    def end(self) -> None:
        self.outbox.close()
        self.numbers.close()

    def close(self) -> None:
        self.end()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- asking ------------------------------------------------------------------------------

    def request(self, side: str = "B", price: int | None = 10_000, size: int = 10) -> Request:
        self.clients += 1
        return self.desk.request(
            side, price, size, client_id=9 << 32 | self.clients, strategy=STRATEGY
        )

    def submit(self, side: str = "B", price: int | None = 10_000, size: int = 10) -> Order:
        """Send an order that must leave, and return it."""
        number = self.router.submit(self.request(side, price, size))
        assert isinstance(number, int), number
        return self.order(number)

    def acked(self, side: str = "B", price: int | None = 10_000, size: int = 10) -> Order:
        """An order that the venue has."""
        order = self.submit(side, price, size)
        self.venue.process()
        self.venue.deliver_all()
        return order

    def denied(self, request: Request | None = None) -> str:
        answer = self.router.submit(request or self.request())
        return answer.reason.name if isinstance(answer, Denied) else "-"

    def order(self, number: int) -> Order:
        order = self.router.table.of_number(number)
        assert order is not None
        return order

    def cancel(self, order: Order) -> Denied | None:
        return self.router.cancel(order.request.client_id)

    # --- time and evidence -------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        self.clock.move(ms * MS)
        self.router.tick()

    def look(self, *, is_healthy: bool = True) -> None:
        """A snapshot of the venue as it is now."""
        self.clock.move(MS)  # asked for after all that was heard
        self.venue.is_healthy = is_healthy
        self.router.reconciler.take_snapshot(ACCOUNT, self.venue.snapshot_now())
        self.clock.move(MS)

    def settle(self) -> None:
        """Enough healthy snapshots, far enough apart, to settle what can be."""
        for _ in range(4):
            self.look()
            self.wait(self.config.absence_ms_min + 1)

    # --- what came of it ---------------------------------------------------------------------

    def states(self, order: Order) -> list[str]:
        return [
            str(record["state"])
            for record in self.records
            if record["kind"] == "order" and record["number"] == order.number
        ]

    def exposure(self) -> tuple[int, int, int]:
        """Position, open buys, open sells of the gate."""
        return self.gate.position(ACCOUNT, STRATEGY, INSTRUMENT)

    def alarms(self) -> list[str]:
        return [alert.what for alert in self.alerts]
