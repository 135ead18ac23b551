"""A life of the router that ends by `kill -9` at an ordered place.

    python -m tests.servers.order_life FOLDER DURABILITY PLACE

It sends order A, hears its acknowledgement, sends order B and hears that, too; somewhere on the way
of B it dies. Its venue is a file: a whole line is an order that has arrived. Places, of B's intent:
`append.before`, `append.torn`, `append.after`; then `send.middle`, `send.after`, `outcome.before`
and `outcome.after`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from risk.approval import ApprovedOrder
from risk.order_numbers import number_of
from risk.orders import Report, ReportKind, Wanted
from tests.harness.gates import ACCOUNT
from tests.harness.order_world import World
from tests.harness.venue_model import VenueModel

# Records of the outbox, by their order: intent and outcome of A, then of B.
WRITES = {"append": 3, "outcome": 4}
_pwrite = os.pwrite


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Places:
    """Around every write of a record."""

    def __init__(self, place: str) -> None:
        what, _, self.when = place.partition(".")
        self.at = WRITES.get(what, 0)
        self.is_armed = False
        self.count = 0

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if not self.is_armed:
            return _pwrite(fd, data, offset)
        self.count += 1
        is_here = self.count == self.at
        if is_here and self.when == "before":
            die()
        if is_here and self.when == "torn":
            _pwrite(fd, data[: len(data) // 2], offset)
            die()
        written = _pwrite(fd, data, offset)
        if is_here and self.when == "after":
            die()
        return written


class FileVenue(VenueModel):
    """An order has arrived when its line is whole."""

    def __init__(self, model: VenueModel, path: Path, place: str) -> None:
        super().__init__(model.account, model.clock)
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.place = place

    def send(self, order: ApprovedOrder, ref: str) -> None:
        request = order.request
        line: dict[str, Any] = {
            "ref": ref,
            "symbol": request.symbol,
            "side": request.side,
            "price": request.price,
            "size": request.size,
        }
        data = json.dumps(line).encode() + b"\n"
        is_b = number_of(ref) == 2
        if is_b and self.place == "send.middle":
            os.write(self.fd, data[: len(data) // 2])
            die()
        os.write(self.fd, data)
        if is_b and self.place == "send.after":
            die()

    def cancel(self, order: Wanted) -> None:
        raise NotImplementedError


def main() -> None:
    folder, durability, place = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    places = Places(place)
    os.pwrite = places.pwrite
    world = World(folder, durability=durability)
    venue = FileVenue(world.venue, folder / "venue.jsonl", place)
    world.brokers[ACCOUNT] = venue
    places.is_armed = True
    watched: list[int] = []
    world.outbox.watch(lambda _old, new: watched.append(new or 0))
    for price in (10_000, 10_005):
        order = world.submit(price=price)
        while order.asked_mono_ns == 0:
            select.select(watched[-1:], [], [], 5)
            world.outbox.collect()
        name = f"V{order.number}"
        ack = Report(kind=ReportKind.ACKED, ref=order.ref, venue_id=name, cum_size=0)
        world.router.on_report(ACCOUNT, ack)
    sys.exit("it lived")


if __name__ == "__main__":
    main()
