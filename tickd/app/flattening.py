"""The optional end of a halt: market orders that bring every account's positions to zero.

What counts is an account's net position in an instrument; strategies of it that offset each other
keep what they have. Only while the halt word lets reductions through (`risk.flatten`, once all is
cancelled), only what the venue says is held, too, and through the gate, in slices that its limits
of one order let through: it asks like anybody else, and what else the gate denies stays, to be
asked for again a few times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, final

import structlog

from risk.approval import Denied
from risk.ledger import Ledger
from risk.orders import Request, Side
from risk.positions import Key
from risk.reasons import Reason
from risk.router import Router
from strategy_runner.runner import owner_of
from tickd.app.instruments import Instruments
from tickd.ports import Clock

__all__ = ["Flattening"]

log = structlog.get_logger(__name__)

# Without any progress, of one position in one halt: a price that comes late.
TRIES_MAX: Final = 20
_AGAIN_NS: Final = 1_000_000_000
# Numbers of orders that a strategy did not ask for: the upper half of what is its own.
_FIRST: Final = 1 << 31
# An order that is too large is asked for again, smaller, at once.
_SHRINKS_MAX: Final = 4
_TOO_LARGE: Final = (Reason.MAX_ORDER_QTY, Reason.MAX_NOTIONAL)
_Held = tuple[str, int]  # account, instrument


class _Try(NamedTuple):
    """How often a net position was asked for, when last, and how much it was."""

    tries: int
    mono_ns: int
    net: int


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
        self._tried: dict[_Held, _Try] = {}
        # The largest order that the gate let through.
        self._slices: dict[_Held, int] = {}
        # What is held and not asked for, and why, for people.
        self.unverified: dict[_Held, str] = {}

    def rest(self) -> None:
        """Nothing may be reduced now."""
        self.unverified = {}

    def step(self, epoch: int) -> None:
        """Ask for what is still held; nothing where an order for it is out.

        Nor where the venue's word differs from ours, or is old: to sell what is not held any more
        would open a position. It is looked at again with every step.
        """
        if epoch != self._epoch:
            self._epoch = epoch
            self._tried.clear()
            self._slices.clear()
        now_ns = self._clock.mono_ns()
        nets = {held: sizes for held, sizes in self._sizes().items() if sum(sizes.values())}
        self._verify(nets)
        for held, sizes in nets.items():
            net = sum(sizes.values())
            if held in self.unverified or self._is_out(held):
                continue
            if self._is_due(held, net, now_ns):
                # Of a strategy that holds this side: the one with the most of it.
                strategy = max(sizes, key=lambda name: sizes[name] if net > 0 else -sizes[name])
                size = min(abs(net), abs(sizes[strategy]))
                self._reduce(Key(held[0], strategy, held[1]), net > 0, size)

    def _verify(self, nets: Iterable[_Held]) -> None:
        """Hear the venues' last word on what is held; each doubt is logged once."""
        found: dict[_Held, str] = {}
        for account, instrument in nets:
            _, symbol = self._instruments.name(instrument)
            why = self._router.reconciler.unverified(account, symbol)
            if why is None:
                continue
            found[account, instrument] = why
            if (account, instrument) not in self.unverified:
                log.error("flatten_unverified", account=account, symbol=symbol, words=why)
        self.unverified = found

    def _sizes(self) -> dict[_Held, dict[str, int]]:
        """What each strategy holds, by account and instrument."""
        found: dict[_Held, dict[str, int]] = {}
        for key, position in self._ledger.positions.items():
            if position.size:
                strategies = found.setdefault((key.account, key.instrument), {})
                strategies[key.strategy] = position.size
        return found

    def _is_due(self, held: _Held, net: int, now_ns: int) -> bool:
        last = self._tried.get(held)
        if last is None or abs(net) < abs(last.net):
            last = _Try(0, now_ns - _AGAIN_NS, net)
        if last.tries >= TRIES_MAX or now_ns - last.mono_ns < _AGAIN_NS:
            return False
        self._tried[held] = _Try(last.tries + 1, now_ns, net)
        return True

    def _is_out(self, held: _Held) -> bool:
        return any(
            (order.request.account, order.request.instrument) == held
            for order in self._router.table.open.values()
        )

    def _reduce(self, key: Key, is_long: bool, size: int) -> None:  # noqa: FBT001 - a side
        """Ask for as much of it as the gate lets through in one order."""
        held = (key.account, key.instrument)
        size = min(size, self._slices.get(held, size))
        for _ in range(_SHRINKS_MAX):
            answer = self._ask(key, "A" if is_long else "B", size)
            if not isinstance(answer, Denied):
                return
            log.error("flatten_denied", **key._asdict(), size=size, reason=answer.reason.name)
            smaller = self._fitting(answer, size, self._instruments.lot(key.instrument))
            if not 0 < smaller < size:
                return
            self._slices[held] = size = smaller

    @staticmethod
    def _fitting(denied: Denied, size: int, lot: int) -> int:
        """The size that the limit which refused leaves; 0: no smaller one helps."""
        value = denied.figures.get("value", 0)
        if denied.reason not in _TOO_LARGE or value <= 0:
            return 0
        # A size's worth is rounded up, so what fits in proportion fits.
        return size * denied.figures.get("limit", 0) // value // lot * lot

    def _ask(self, key: Key, side: Side, size: int) -> int | Denied:
        venue, symbol = self._instruments.name(key.instrument)
        self._next += 1
        return self._router.submit(
            Request(
                client_id=owner_of(key.strategy) << 32 | self._next & 0xFFFF_FFFF,
                strategy=key.strategy,
                account=key.account,
                instrument=key.instrument,
                venue=venue,
                symbol=symbol,
                side=side,
                price=None,
                size=size,
                time_in_force="ioc",
                reduce_only=True,
            )
        )
