"""What an order costs in the router: submit, ack, cancel, ack, with gate, outbox and records.

    python -m benchmarks.bench_order_path [orders]

The venue answers within the call, so that all of the time is ours. Beside it: the same without a
file, and a record's way to the disk while the loop rests and while it never does.
"""

from __future__ import annotations

import select
import sys
import tempfile
import time
from pathlib import Path

from risk.brokers.port import Broker
from risk.gate import Gate
from risk.order_numbers import OrderNumbers
from risk.orders import Report, ReportKind, Request
from risk.outbox import Outbox
from risk.outbox_format import CancelAsked
from risk.router import Router
from risk.router_config import RouterConfig
from tests.harness.gates import ACCOUNT, INSTRUMENT, STRATEGY, SYMBOL, VENUE, Desk
from tickd.clock import SystemClock

ORDERS = 20_000
TICK_EVERY = 64


class AtOnce:
    """Answers within the call."""

    is_up = True

    def __init__(self) -> None:
        self.router: Router | None = None

    def send(self, order: object, ref: str) -> None:
        del order
        self._say(ReportKind.ACKED, ref)

    def cancel(self, order: object) -> None:
        self._say(ReportKind.CANCELLED, order.ref)  # type: ignore[attr-defined]

    def _say(self, kind: ReportKind, ref: str) -> None:
        assert self.router is not None
        self.router.on_report(ACCOUNT, Report(kind=kind, ref=ref, venue_id=ref, cum_size=0))


def world(folder: Path, gate: Gate) -> tuple[Router, Outbox, OrderNumbers]:
    clock = SystemClock()
    config = RouterConfig(durability="process")
    outbox = Outbox(
        folder / "outbox", durability="process", bytes_max=config.outbox_bytes_max, clock=clock
    )
    numbers = OrderNumbers(folder / "numbers", first=1)
    venue = AtOnce()
    broker: Broker = venue  # type: ignore[assignment]
    router = Router(
        config,
        gate=gate,
        brokers={ACCOUNT: broker},
        outbox=outbox,
        numbers=numbers,
        clock=clock,
        record=lambda _record: None,
        on_fill=lambda _order, _fill: None,
        on_alert=lambda alert: sys.exit(f"an alert: {alert}"),
        halt_instrument=lambda _instrument, _why: None,
        on_snapshot=lambda _account, _snapshot: None,
    )
    venue.router = router
    router.recover()
    return router, outbox, numbers


def order_path(folder: Path, orders: int) -> None:
    desk = Desk("native")
    router, outbox, numbers = world(folder, desk.gate)
    took: list[int] = []
    clock = time.perf_counter_ns
    for at in range(orders):
        request = Request(
            client_id=9 << 32 | at,
            strategy=STRATEGY,
            account=ACCOUNT,
            instrument=INSTRUMENT,
            venue=VENUE,
            symbol=SYMBOL,
            side="B",
            price=5_000 + 5 * (at % 1_000),
            size=1,
        )
        begun = clock()
        number = router.submit(request)
        router.cancel(request.client_id)
        took.append(clock() - begun)
        if not isinstance(number, int):
            sys.exit(f"denied: {number}")
        if at % TICK_EVERY == 0:
            router.tick()
            while outbox.is_carrying:
                router.tick()
    took.sort()
    p50, p99 = took[orders // 2] / 1e3, took[orders * 99 // 100] / 1e3
    print(f"submit, ack, cancel, ack    p50 {p50:6.1f} us   p99 {p99:6.1f} us   ({orders} orders)")
    numbers.close()
    outbox.close()


def to_the_disk(folder: Path, *, is_busy: bool) -> None:
    outbox = Outbox(folder / "disk", durability="disk", bytes_max=8 << 20, clock=SystemClock())
    outbox.open()
    descriptors: list[int] = []
    outbox.watch(lambda _old, new: descriptors.append(new or 0))
    took: list[int] = []
    for at in range(1_000):
        done: list[bool] = []
        begun = time.perf_counter_ns()
        outbox.when_durable(outbox.append(CancelAsked(at, 0)), done.append)
        while not done:
            if not is_busy:
                select.select(descriptors[-1:], [], [], 1)
            outbox.collect()
        took.append(time.perf_counter_ns() - begun)
    took.sort()
    what = "a loop that never rests" if is_busy else "a loop at rest"
    p50, p99 = took[500] / 1e3, took[990] / 1e3
    print(f"append to durable, {what:24} p50 {p50:7.1f} us   p99 {p99:7.1f} us")
    outbox.close()


def main() -> None:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS
    with tempfile.TemporaryDirectory(prefix="tickd-orders-") as name:
        folder = Path(name)
        order_path(folder, orders)
        to_the_disk(folder / "rest", is_busy=False)
        to_the_disk(folder / "busy", is_busy=True)


if __name__ == "__main__":
    main()
