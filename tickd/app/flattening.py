"""The optional end of a halt: market orders that bring every position to zero, through the gate.

Only while the halt word lets reductions through (`risk.flatten`, once everything is cancelled). It
asks like anybody else: what the gate denies stays as it is, and is asked for again a few times.
"""

from __future__ import annotations

from typing import Final, final

import structlog

from risk.approval import Denied
from risk.ledger import Ledger
from risk.orders import Request
from risk.positions import Key
from risk.router import Router
from strategy_runner.runner import owner_of
from tickd.app.instruments import Instruments
from tickd.ports import Clock

__all__ = ["Flattening"]

log = structlog.get_logger(__name__)

# Of one position, in one halt: a venue that fills a part each time, a price that comes late.
TRIES_MAX: Final = 20
_AGAIN_NS: Final = 1_000_000_000
# Numbers of orders that a strategy did not ask for: the upper half of what is its own.
_FIRST: Final = 1 << 31


@final
class Flattening:
    """One daemon's. `step` is called now and then while reductions may leave."""

    def __init__(
        self, *, router: Router, ledger: Ledger, instruments: Instruments, clock: Clock
    ) -> None:
        self._router: Final = router
        self._ledger: Final = ledger
        self._instruments: Final = instruments
        self._clock: Final = clock
        # Distinct over restarts, as far as a second goes.
        self._next = _FIRST | (clock.wall_ns() // 1_000_000_000 & 0x3FFF_FFFF)
        self._epoch = 0
        # By position: how often it was asked for in this halt, and when.
        self._tried: dict[Key, tuple[int, int]] = {}

    def step(self, epoch: int) -> None:
        """Ask for what is still held; nothing where an order for it is out."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._tried.clear()
        now_ns = self._clock.mono_ns()
        for key, position in list(self._ledger.positions.items()):
            if position.size and not self._is_out(key):
                tries, since_ns = self._tried.get(key, (0, now_ns - _AGAIN_NS))
                if tries < TRIES_MAX and now_ns - since_ns >= _AGAIN_NS:
                    self._tried[key] = (tries + 1, now_ns)
                    self._ask(key, position.size)

    def _is_out(self, key: Key) -> bool:
        return any(
            (order.request.account, order.request.strategy, order.request.instrument) == key
            for order in self._router.table.open.values()
        )

    def _ask(self, key: Key, size: int) -> None:
        venue, symbol = self._instruments.name(key.instrument)
        self._next += 1
        answer = self._router.submit(
            Request(
                client_id=owner_of(key.strategy) << 32 | self._next & 0xFFFF_FFFF,
                strategy=key.strategy,
                account=key.account,
                instrument=key.instrument,
                venue=venue,
                symbol=symbol,
                side="A" if size > 0 else "B",
                price=None,
                size=abs(size),
                time_in_force="ioc",
                reduce_only=True,
            )
        )
        if isinstance(answer, Denied):
            log.error("flatten_denied", **key._asdict(), size=size, reason=answer.reason.name)
