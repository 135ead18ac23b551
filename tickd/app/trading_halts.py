"""What halts orders beside a person, what a halt reaches, and what keeps one from being lifted.

Triggers pull the kill switch; a halted scope becomes halts of the gate and cancels of the router.
It sends no order and arms nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, final

import structlog

from risk.brokers.port import Broker
from risk.gate import Gate
from risk.kill import KillSwitch
from risk.kill_hooks import Hooks
from risk.latch import HaltedSide, Scope
from risk.ledger import Ledger
from risk.order_facts import Order
from risk.positions import Key
from risk.router import Router
from risk.triggers import Triggers
from tickd.app.instruments import Instruments
from tickd.app.trading_feeds import TradingFeeds
from tickd.errors import TickdError
from tickd.native import RawLog
from tickd.ports import Clock

__all__ = ["TradingHalts"]

log = structlog.get_logger(__name__)

_SIDES: Final[tuple[HaltedSide, ...]] = ("", "B", "A")


@final
class TradingHalts:
    """The halts of one daemon. `join` comes before anything else but `set_scope`."""

    def __init__(
        self,
        triggers: Triggers,
        *,
        gate: Gate,
        instruments: Instruments,
        ledger: Ledger,
        raw_log: RawLog,
        lag_ms_max: int,
        clock: Clock,
    ) -> None:
        """`lag_ms_max`: above it nothing is armed; 0: however late the market is."""
        self._triggers: Final = triggers
        self.feeds: Final = TradingFeeds(clock)
        self._gate: Final = gate
        self._instruments: Final = instruments
        self._ledger: Final = ledger
        self._raw_log: Final = raw_log
        self._lag_ms_max: Final = lag_ms_max
        self._clock: Final = clock
        # What tells how late market data is; the wiring gives it.
        self.lag_s: Callable[[], float] = lambda: 0.0
        # Why the last life's orders could not be read.
        self.problem: str | None = None
        self._is_joined = False
        # Accounts whose broker runs no more, and why.
        self._ended: Final[dict[str, str]] = {}
        # Venue, symbol and side, by names; numbers of what nobody had defined have no venue.
        self._halted_names: Final[set[tuple[str, str, HaltedSide]]] = set()
        instruments.on_meaning(self._mean)

    def hooks(self, router: Router, record: Callable[[dict[str, object]], None]) -> Hooks:
        """Return what the kill switch reaches where there are accounts."""
        return Hooks(
            record=record,
            cancel_all=router.cancel_all,
            cancel_scope=self.cancel_scope,
            blockers=self.blockers,
            open_orders=lambda: len(router.table.open),
            stopped=self._gate.stopped,
            set_scope=self.set_scope,
            instruments=self.instruments,
        )

    def join(self, switch: KillSwitch, router: Router, brokers: Mapping[str, Broker]) -> None:
        """Take what is pulled, asked to cancel, and looked at."""
        self._switch = switch
        self._router = router
        self._brokers = brokers
        router.reconciler.is_aside = self._is_aside
        self._is_joined = True

    def _is_aside(self, account: str) -> bool:
        """Whether an account is halted by itself: it holds up no other then."""
        return self._switch.is_halted("account", account)

    # What halts by itself -------------------------------------------------------------------------

    def instrument_in_doubt(self, instrument: int, reason: str) -> None:
        """Halt an instrument, for orders in it that nobody can account for."""
        key = self._instruments.label(instrument)
        self._switch.trip(reason, scope="instrument", key=key, source="router")

    def rejected(self, account: str) -> None:
        """A venue refused an order of `account`."""
        reason = self._triggers.rejected(account, self._clock.mono_ns())
        self._pull(reason, account, "rejects")

    def watch_losses(self, account: str) -> None:
        """Look whether an account lost too much today."""
        reason = self._triggers.daily_loss(account, self._ledger.day_pnl(account))
        self._pull(reason, account, "daily loss")

    def watch_feeds(self) -> None:
        """Halt instruments with orders or positions whose book is not whole for too long."""
        mono_ns = self._clock.mono_ns()
        for label, since_ns in self.feeds.broken(self._labels_in_use()):
            reason = self._triggers.gap(label, since_ns, mono_ns)
            if reason is not None:
                self._switch.trigger(reason, scope="instrument", key=label, name="gap")

    def _labels_in_use(self) -> set[str]:
        orders = self._router.table.open.values()
        used = {each.request.instrument for each in orders}
        used |= {key.instrument for key, each in self._ledger.positions.items() if each.size}
        return {self._instruments.label(number) for number in used}

    def instruments(self) -> set[str]:
        """`venue:symbol` of all that is defined, and of whatever has orders or positions."""
        known = {":".join(name) for name in self._instruments.symbols()}
        known |= self._labels_in_use()
        table = self._router.table
        known |= {self._instruments.label(each.instrument) for each in table.held() if each.size}
        orders = (each.request for each in table.open.values())
        return known | {f"{each.venue}:{each.symbol}" for each in orders}

    def broker_failed(self, account: str, error: TickdError) -> None:
        """Halt an account whose broker cannot work; the others go on."""
        log.error("broker_failed", account=account, words=str(error), hint=error.hint)
        self._ended[account] = str(error)
        self._switch.trip(str(error), scope="account", key=account, source="broker")

    def _pull(self, reason: str | None, account: str, name: str) -> None:
        if reason is not None:
            self._switch.trigger(reason, scope="account", key=account, name=name)

    # What a halted scope is -----------------------------------------------------------------------

    def set_scope(
        self,
        scope: Scope,
        key: str,
        halted: bool,  # noqa: FBT001 - a hook
        side: HaltedSide,
    ) -> None:
        """Halt a scope, or a side of it, at the gate, or lift it."""
        do = self._gate.halt if halted else self._gate.lift
        if scope != "instrument":
            do(scope, key, side or None)
            if scope == "strategy" and not halted and not side:
                # Stopped for repeated executions, too: a person has looked at it.
                self._gate.enable(key)
            return
        venue, _, symbol = key.partition(":")
        change = self._halted_names.add if halted else self._halted_names.discard
        change((venue, symbol, side))
        if not venue and symbol.isdecimal():
            # Of an order from before, in an instrument that nobody had defined yet.
            do("instrument", int(symbol), side or None)
            venue, _, symbol = self._instruments.label(int(symbol)).partition(":")
        if venue:
            self._mean(venue, symbol)

    def _mean(self, venue: str, symbol: str) -> None:
        """Let a symbol be traded as what it means now, unless it is halted.

        Brokers write numbers by the scales of the definition that counts: under another one the
        same price would be another, so what was defined before stays halted.
        """
        current = self._instruments.traded(venue, symbol)
        if (old := self._left_behind(venue, symbol)) is not None:
            self._halt_redefined(venue, symbol, old)
        for number in self._instruments.numbers(venue, symbol):
            is_current = current is not None and current.number == number
            for side in _SIDES:
                names = {(venue, symbol, side), ("", str(number), side)}
                # Of what counts no more both are halted, whatever its sides are.
                is_halted = not names.isdisjoint(self._halted_names) or not (is_current or side)
                do = self._gate.halt if is_halted else self._gate.lift
                do("instrument", number, side or None)

    def look_at_meanings(self) -> None:
        """What the last life left may be in an instrument whose symbol means another by now."""
        for name in self._instruments.symbols():
            self._mean(*name)

    def _left_behind(self, venue: str, symbol: str) -> str | None:
        """What is open or held of a symbol as it was defined before, in words."""
        current = self._instruments.traded(venue, symbol)
        numbers = self._instruments.numbers(venue, symbol)
        if current is None or len(numbers) == 1 or not self._is_joined:
            return None
        old = {number for number in numbers if number != current.number}
        table = self._router.table
        orders = sum(each.request.instrument in old for each in table.open.values())
        told = [each for each in table.held() if each.instrument in old and each.size]
        held = {Key(each.account, each.strategy, each.instrument) for each in told}
        kept = self._ledger.positions.items()
        held |= {key for key, each in kept if key.instrument in old and each.size}
        if not orders and not held:
            return None
        return f"{orders} orders and {len(held)} positions"

    def _halt_redefined(self, venue: str, symbol: str, old: str) -> None:
        """Books of two definitions do not add up: nobody trades the symbol before a person."""
        if (venue, symbol, "") in self._halted_names:
            return
        reason = (
            f"{venue}:{symbol} was defined anew with {old} under the old definition: cancel and "
            "flatten at the venue, adopt what is left with `tickd order adopt` (0 when it is "
            "flat), then arm this scope"
        )
        self._switch.trip(reason, scope="instrument", key=f"{venue}:{symbol}", source="definition")

    async def cancel_scope(self, scope: Scope, key: str, side: HaltedSide = "") -> int:
        """Cancel what is open in a scope, or of a side of it; return how many orders are left."""

        def is_in(order: Order) -> bool:
            request = order.request
            if side and request.side != side:
                return False
            names = {
                "global": ("",),
                "venue": (request.venue,),
                "account": (request.account,),
                "strategy": (request.strategy,),
                "instrument": (f"{request.venue}:{request.symbol}", f":{request.instrument}"),
            }
            return key in names[scope]

        return await self._router.cancel_all(is_in)

    # What keeps one from being lifted -------------------------------------------------------------

    def blockers(self, scope: Scope, key: str) -> list[str]:
        """Why the orders of a scope may not leave yet, a sentence each.

        What is wrong with an account that stays halted by itself is no reason.
        """
        of = key if scope == "account" else ""
        found = [self.problem] if self.problem else []
        found += self._ledger.problems()
        found += self._router.outbox.damage.problems()
        found += self._router.reconciler.problems(of)
        found += (
            f"{name} is not connected"
            for name, each in self._brokers.items()
            if not each.is_up and (name == of or not self._is_aside(name))
        )
        found += (
            f"the broker of {name} has ended, nothing is cancelled there; restart tickd: {words}"
            for name, words in self._ended.items()
            if name == of or not self._is_aside(name)
        )
        if self._raw_log.fault is not None:
            found.append(f"the raw log is not written: {self._raw_log.fault}")
        if self.lag_s() * 1_000 > self._lag_ms_max > 0:
            found.append(f"market data is more than {self._lag_ms_max} ms late")
        return found
