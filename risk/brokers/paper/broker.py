"""The paper broker: the port of a broker over a venue of our own, in this process.

It hands orders to the native exchange, lets its time pass, and translates what it says. Nothing is
reported within `send`, `cancel` or `replace`: what is due at once (no latency) is reported by the
next `take`, or behind the loop's turn.

The exchange lives in memory. After a restart it knows no order: a snapshot lists none, healthy, and
so the router resolves what was open as never there or over. Money and positions begin with what our
own books say of the account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, final

import msgspec

from risk.approval import ApprovedOrder
from risk.brokers.paper.config import PaperConfig
from risk.brokers.port import AccountSection, BrokerContext, BrokerKind, OnReport
from risk.errors import BrokerError, NotSentError
from risk.orders import (
    AccountState,
    Report,
    ReportKind,
    Snapshot,
    VenueOrder,
    VenuePosition,
    Wanted,
)
from risk.positions import Contract, Key, Position, Positions
from tickd.native import EventBatch, PaperExchange
from tickd.ports import Clock

__all__ = ["BROKER", "PaperBroker"]

# Names of orders that are over and may still be asked for; the exchange lists 10,000 of them.
_REFS_MAX: Final = 40_000
# Executions are folded when they are heard of, and before so many wait that they are not listed any
# more: the way back may be long.
_UNFOLDED_MAX: Final = 1_000
# How long cancel-all keeps at it; cancels may be configured to get lost.
_CANCEL_ALL_S: Final = 5.0
# A timer no finer than this: the loop's own is a millisecond.
_TICK_S: Final = 0.001
# By the number that the exchange says; looking an enum up by value costs more.
_KINDS: Final = tuple(ReportKind)

_Told = tuple[int, int, int, int, int | None, int | None, int, int, str, int]


class _Venue(msgspec.Struct, frozen=True):
    venue: str
    symbol: str


@final
class PaperBroker:
    """One paper account. Everything is called on the loop's thread."""

    def __init__(
        self,
        config: PaperConfig,
        *,
        account: str,
        on_report: OnReport,
        clock: Clock,
        call_soon: Callable[[Callable[[], None]], object],
        held: Callable[[], Iterable[tuple[Key, Position]]] = tuple,
    ) -> None:
        """`held`: what earlier lives left in the account, asked for once."""
        self._config: Final = config
        self._account: Final = account
        self._on_report: Final = on_report
        self._clock: Final = clock
        self._call_soon: Final = call_soon
        self._exchange: Final = PaperExchange(config.exchange_json())
        self._at_once: Final = not any((*config.entry_us, *config.response_us))
        self._refs: Final[dict[int, str]] = {}
        self._symbols: Final[dict[int, str]] = {}
        self._positions: Final = Positions()
        self._held: Callable[[], Iterable[tuple[Key, Position]]] | None = held
        # Executions that are in the positions already.
        self._folded = 0
        self._is_turn_asked = False
        self._asked: Final = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return True

    async def run(self) -> None:
        """Let time pass where no market does, until cancelled."""
        while True:
            await self._asked.wait()
            while self._exchange.next_due_ns is not None:
                await self._pass_time()
            self._asked.clear()

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument's definition (JSON). What has no terms is refused order by order."""
        told = msgspec.json.decode(definition, type=_Venue)
        self._symbols[instrument] = told.symbol
        follows = self._config.follows(told.venue, told.symbol)
        try:
            self._exchange.define(instrument, definition, follows)
        except ValueError:  # an index, say: nobody trades it
            return
        self._positions.define(instrument, definition)

    def take(self, batch: EventBatch) -> None:
        """Match a burst of the market; one native call."""
        if heard := self._exchange.take(batch):
            self._tell(heard)
        elif self._exchange.executed - self._folded > _UNFOLDED_MAX:
            self._fold()

    def advance(self) -> None:
        """Let time pass to now; report what is due."""
        self._is_turn_asked = False
        if heard := self._exchange.advance(self._clock.wall_ns()):
            self._tell(heard)

    def send(self, order: ApprovedOrder, ref: str) -> None:
        request, number = order.request, order.number
        try:
            self._exchange.submit(
                self._clock.wall_ns(),
                number,
                request.instrument,
                request.side,
                request.price,
                request.size,
                request.time_in_force,
                request.reduce_only,
            )
        except (ValueError, OverflowError) as error:
            raise NotSentError(f"paper: {error}", venue=request.venue) from error
        self._refs[number] = ref
        if request.instrument not in self._symbols:
            self._symbols[request.instrument] = request.symbol
        if len(self._refs) > _REFS_MAX:
            self._forget()
        self._wake()

    def cancel(self, order: Wanted) -> None:
        self._refs.setdefault(order.number, order.ref)
        try:
            self._exchange.cancel(self._clock.wall_ns(), order.number)
        except OverflowError as error:
            raise NotSentError(f"paper: {error}") from error
        self._wake()

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        if price is None:
            raise NotSentError("paper: a market order never rests, so it cannot be replaced")
        self._refs.setdefault(order.number, order.ref)
        try:
            self._exchange.replace(self._clock.wall_ns(), order.number, price, size)
        except OverflowError as error:
            raise NotSentError(f"paper: {error}") from error
        self._wake()

    async def snapshot(self) -> Snapshot:
        asked_ns = self._clock.mono_ns()
        self._begin()
        self.advance()
        listed = self._exchange.orders()
        orders = tuple(
            VenueOrder(
                ref=self._refs.get(number, ""),
                venue_id=_venue_id(venue_id),
                symbol=self._symbols.get(instrument, ""),
                side=side,
                price=price,
                size=size,
                cum_size=cum,
                is_open=not end,
                end=end,
            )
            for number, venue_id, instrument, side, price, size, cum, end in listed
        )
        fills = tuple(self._report(told) for _, _, told in self._exchange.executions(0))
        self._fold()
        held = self._positions.sizes(self._account)
        return Snapshot(
            asked_mono_ns=asked_ns,
            is_healthy=True,
            orders=orders,
            fills=fills,
            positions=tuple(VenuePosition(symbol=symbol, size=held[symbol]) for symbol in held),
            account=self._account_state(),
        )

    async def cancel_all(self) -> int:
        """Cancel until nothing is open, for five seconds at most.

        From a process of its own it finds nothing: the orders ended with theirs.
        """
        until_ns = self._clock.mono_ns() + round(_CANCEL_ALL_S * 1e9)
        asked: set[int] = set()
        self.advance()
        while (numbers := self._exchange.open_numbers()) and self._clock.mono_ns() < until_ns:
            if self._exchange.next_due_ns is None:
                asked.clear()  # no cancel is under way, and they are open still: they got lost
            now_ns = self._clock.wall_ns()
            for number in numbers:
                if number not in asked:
                    self._exchange.cancel(now_ns, number)
                    asked.add(number)
            await self._pass_time()
        return len(numbers)

    async def _pass_time(self) -> None:
        """Wait for what is due next, a tick at most, and report it."""
        due_ns = self._exchange.next_due_ns
        wait_s = _TICK_S if due_ns is None else (due_ns - self._clock.wall_ns()) / 1e9
        await self._clock.sleep(min(max(wait_s, 0.0), _TICK_S))
        self.advance()

    def _wake(self) -> None:
        if self._at_once:
            if not self._is_turn_asked:
                self._is_turn_asked = True
                self._call_soon(self.advance)
        elif not self._asked.is_set():
            self._asked.set()

    def _tell(self, heard: Iterable[_Told]) -> None:
        on_report = self._on_report
        for told in heard:
            on_report(self._report(told))
        if self._exchange.executed != self._folded:
            self._fold()

    def _report(self, told: _Told) -> Report:
        kind, number, venue_id, fill, price, size, cum, fee, reason, at_ns = told
        name = _venue_id(venue_id)
        if not fill:
            return Report(
                kind=_KINDS[kind - 1],
                ref=self._refs.get(number, ""),
                venue_id=name,
                price=price,
                size=size,
                cum_size=cum,
                reason=reason,
                code=reason,
                ts_event_ns=at_ns,
            )
        return Report(
            kind=ReportKind.FILL,
            ref=self._refs.get(number, ""),
            venue_id=name,
            exec_id=f"{name}-{fill}",
            price=price,
            size=size,
            cum_size=cum,
            fee=fee,
            fee_currency=self._config.currency,
            ts_event_ns=at_ns,
        )

    def _begin(self) -> None:
        """Take over what earlier lives left in the account; before the first order comes."""
        held, self._held = self._held, None
        for key, position in held() if held is not None else ():
            self._positions.keep(key.instrument, position.contract)
            self._positions.add(Key(self._account, "", key.instrument), position)
            self._symbols.setdefault(key.instrument, position.contract.symbol)
            # The exchange counts by itself what an order may reduce.
            self._exchange.hold(key.instrument, position.size)

    def _fold(self) -> None:
        """Bring the positions up to the exchange's executions, reported or not."""
        executed = self._exchange.executed
        missing = self._exchange.executions(self._folded)
        if len(missing) != executed - self._folded:
            raise BrokerError("paper: more executions than are listed came between two turns")
        for instrument, side, told in missing:
            _, _, _, _, price, size, _, fee, _, at_ns = told
            assert price is not None
            assert size is not None
            key = Key(self._account, "", instrument)
            self._positions.apply(
                key,
                side=side,
                price=price,
                size=size,
                fee=fee,
                ts_ns=at_ns,
            )
        self._folded = executed

    def _account_state(self) -> AccountState:
        """Positions are valued where they could be closed: longs at the bid, shorts at the ask."""
        margin = reserved = 0
        for key, position in self._positions.items(self._account):
            bid, ask = self._exchange.touch(key.instrument)
            mark = bid if position.size > 0 else ask
            if mark is not None and position.size:
                self._positions.mark(key.instrument, mark)
            mark = self._positions.last_mark(key.instrument)
            margin += self._margin(position.contract, mark or 0, position.size)
        for _, _, instrument, _, price, size, cum, end in self._exchange.orders():
            contract = self._positions.contract(instrument)
            if not end and price is not None and contract is not None:
                reserved += self._margin(contract, price, size - cum)
        pnl = self._positions.pnl(self._account)
        equity = self._config.balance_money + pnl.total
        return AccountState(
            currency=self._config.currency,
            equity=equity,
            free=equity - margin - reserved,
            margin_used=margin,
            unrealised=pnl.unrealised,
        )

    def _margin(self, contract: Contract, price: int, size: int) -> int:
        """What a position or an order binds, rounded up."""
        return -contract.money(-abs(contract.value(price, size)) // self._config.leverage)

    def _forget(self) -> None:
        """Drop the names of orders that the exchange does not list any more."""
        listed = {number for number, *_ in self._exchange.orders()}
        listed.update(self._exchange.open_numbers())
        for number in [each for each in self._refs if each not in listed]:
            del self._refs[number]


def _venue_id(number: int) -> str:
    return f"P{number}" if number else ""


def _make(section: AccountSection, context: BrokerContext) -> PaperBroker:
    assert isinstance(section, PaperConfig), "the registry pairs them"
    broker = PaperBroker(
        section,
        account=section.name,
        on_report=context.on_report,
        clock=context.clock,
        call_soon=asyncio.get_running_loop().call_soon,
        held=context.held,
    )
    context.market.on_definition(broker.define)
    context.market.on_batch(broker.take)
    return broker


BROKER: Final = BrokerKind(make=_make, venue=lambda _section: "", is_local=True)
