"""The broker `shioaji`: one account's order entry behind `risk.brokers.port.Broker`.

Log in → hold → log in again. Orders are put into the lanes of the order thread; what comes back is
read on the loop and reported. It resends nothing, and decides nothing about an order's state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Final, final

import msgspec
import structlog

from risk.approval import ApprovedOrder
from risk.brokers.port import AccountSection, BrokerContext, BrokerKind
from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.brokers.shioaji.correlation import Correlation, Entry, scales_in
from risk.brokers.shioaji.inbox import (
    Answered,
    Item,
    Lost,
    Placed,
    Raised,
    Refused,
    SessionEvent,
    Told,
)
from risk.brokers.shioaji.lanes import CancelJob, ChangeJob, PlaceJob
from risk.brokers.shioaji.line import Line
from risk.brokers.shioaji.order_thread import HALTED
from risk.brokers.shioaji.queries import Queries
from risk.brokers.shioaji.rate import NS_PER_SECOND, CallRate
from risk.brokers.shioaji.requests import change_of, shape_of
from risk.brokers.shioaji.sdk import PACKAGE, Factory, secrets_of
from risk.brokers.shioaji.translate import Out, Translator
from risk.brokers.shioaji.wire import PANIC, VENUE, Scales, session_signal, text_of, words_of
from risk.errors import BrokerError, NotSentError
from risk.orders import Report, ReportKind, Snapshot, Wanted
from tickd.errors import Action, ConfigError

__all__ = ["BROKER", "ShioajiBroker"]

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.5
LOGIN_SECONDS_MIN: Final = 5.0
# "Log in again after one minute": a login during a suspension prolongs it.
LOGIN_REST_SECONDS: Final = 90.0
DAY_SECONDS: Final = 86_400.0
ORDERS_WINDOW_S: Final = 10.0
LINE_DOWN: Final = "LINE_DOWN"
WITHDRAWN: Final = "WITHDRAWN"


@final
class ShioajiBroker:
    """Implements `risk.brokers.port.Broker`. Loop only.

    `context.confirm` is asked on the order thread, right before each order call. `factory` makes
    the SDK's client; the default imports it.
    Raises ConfigError: the SDK is not installed.
    """

    def __init__(
        self,
        config: ShioajiAccountConfig,
        context: BrokerContext,
        *,
        factory: Factory | None = None,
    ) -> None:
        if find_spec(PACKAGE) is None:
            raise ConfigError(
                f"the SDK of {VENUE} is not installed", hint=f"pip install 'tickd[{PACKAGE}]'"
            )
        self._config = config
        self._on_report = context.on_report
        self._confirm = context.confirm
        self._instrument, self._ordered = context.instrument, context.ordered
        self._clock = context.clock
        self._factory = factory
        self._known = Correlation()
        self._translator = Translator(
            self._known, self._scales_of, secrets_of(config), own=self._own_scales
        )
        most = config.orders_per_10s_max
        self._rate = CallRate(
            most, ORDERS_WINDOW_S, reserved=max(1, round(most * config.cancels_share))
        )
        self._queries = Queries(
            config,
            known=self._known,
            scales_of=self._scales_of,
            own=self._own_scales,
            rate=self._rate,
            clock=self._clock,
        )
        self._logins = (
            CallRate(config.logins_per_day_max, DAY_SECONDS),
            CallRate(1, LOGIN_SECONDS_MIN),
        )
        self._line: Line | None = None
        self._is_up = False
        self._down_since_ns: int | None = None  # the SDK reconnects by itself
        self._downs = 0  # how often the line was lost: a snapshot compares
        self._degraded: tuple[str, ...] = ()  # why the SDK's cache may lack messages
        self._has_opened = False

    def _scales_of(self, symbol: str) -> Scales | None:
        return scales_in(self._instrument(symbol))

    def _own_scales(self, ref: str, venue_id: str) -> Scales | None:
        return scales_in(self._ordered(ref, venue_id))

    @property
    def is_up(self) -> bool:
        """Whether an order sent now would leave at once."""
        return self._is_up

    # Orders -------------------------------------------------------------------------------------

    def send(self, order: ApprovedOrder, ref: str) -> None:
        """Hand a new order to the order thread, which asks `confirm` and calls."""
        line, request = self._line, order.request
        if line is None or not self._is_up:
            raise NotSentError(f"{VENUE}: the line is down", venue=VENUE)
        scales, contract = self._scales_of(request.symbol), line.contracts.get(request.symbol)
        if scales is None or contract is None:
            raise NotSentError(
                f"{VENUE}: {request.symbol} is not known on this account",
                venue=VENUE,
                hint="`symbols` of the account names what may be traded",
            )
        shape = shape_of(
            request,
            ref,
            market=self._config.market,
            scales=scales,
            market_price_type=self._config.market_price_type,
        )
        if self._known.of_ref(ref) is not None:
            raise NotSentError(f"{VENUE}: reference {ref} has been used", venue=VENUE)
        try:
            native = line.client.native(shape)
        except (TypeError, ValueError) as error:  # the SDK's own checks; both of its classes
            raise NotSentError(f"{VENUE}: {words_of(error)}", venue=VENUE) from error
        entry = Entry(ref, order, scales)
        self._known.add(entry)
        if not line.lanes.put(PlaceJob(order, ref, contract, native, self._clock.mono_ns())):
            self._known.finish(entry)
            raise NotSentError(f"{VENUE}: the order thread's queue is full", venue=VENUE)

    def cancel(self, order: Wanted) -> None:
        """Before all new orders; where the venue's id is not known yet, as soon as it is."""
        line = self._line
        if line is None:
            raise NotSentError(f"{VENUE}: there is no login", venue=VENUE)
        entry = self._known.of_ref(order.ref) or self._known.of_id(order.venue_id)
        now_ns = self._clock.mono_ns()
        if entry is not None and (waiting := line.lanes.withdraw(entry.ref)):
            for each in waiting:  # told behind this call, not within it
                line.inbox.put(Refused(each, WITHDRAWN, "cancelled before it left"))
            if any(isinstance(job, PlaceJob) for job in waiting):
                return
        venue_id = (entry.venue_id if entry is not None else "") or order.venue_id
        if venue_id:
            self._put_cancel(line, entry, order.ref, venue_id)
        elif entry is not None:
            entry.cancel_since_ns = now_ns
        else:
            raise NotSentError(f"{VENUE}: {order.ref} was not sent by this process", venue=VENUE)

    def _put_cancel(self, line: Line, entry: Entry | None, ref: str, venue_id: str) -> None:
        # A placeholder that never learnt its id cannot be cancelled; the SDK's cache has another.
        handle = entry.handle if entry is not None else None
        if handle is not None and text_of(handle.order.id) != venue_id:
            handle = None
        job = CancelJob(ref, venue_id, handle, self._clock.mono_ns())
        if not line.lanes.put(job):
            raise NotSentError(f"{VENUE}: the broker stops", venue=VENUE)

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        """One of price and size; a size can only be reduced.

        It rides on the order's own approval: an order from before a halt can only be cancelled.
        """
        line, entry = self._line, self._known.of_ref(order.ref)
        if line is None or not self._is_up:
            raise NotSentError(f"{VENUE}: the line is down", venue=VENUE)
        if entry is None or entry.handle is None or not entry.venue_id:
            raise NotSentError(f"{VENUE}: {order.ref} has no id of the venue yet", venue=VENUE)
        if entry.asked_price is not None or entry.asked_size is not None:
            raise NotSentError(f"{VENUE}: {order.ref} is being changed already", venue=VENUE)
        change = change_of(order, price=price, size=size, scales=entry.scales)
        job = ChangeJob(
            entry.order, order.ref, entry.venue_id, entry.handle, change, self._clock.mono_ns()
        )
        if not line.lanes.put(job):
            raise NotSentError(f"{VENUE}: the order thread's queue is full", venue=VENUE)
        if change.price is not None:
            entry.asked_price = price
        else:
            entry.asked_size = size

    def _tell_dropped(self, jobs: list[PlaceJob | ChangeJob], code: str, words: str) -> None:
        for job in jobs:
            self._on_report(self._translator.refused(Refused(job, code, words)))

    # What comes back ----------------------------------------------------------------------------

    def _on_items(self, line: Line, items: list[Item]) -> None:
        for item in items:
            try:
                self._on_item(line, item)
            except BaseException as error:
                if type(error).__name__ == PANIC:  # the SDK's object cannot be read
                    self._doubt_all(words_of(error))
                    continue
                raise

    def _on_item(self, line: Line, item: Item) -> None:
        match item:
            case Told():
                self._take(line, self._translator.told(*item, self._clock.mono_ns()))
            case Answered():
                self._take(line, self._translator.answered(*item))
            case Placed():
                self._translator.placed(item.ref, item.trade)
            case Refused():
                self._on_report(self._translator.refused(item))
            case Raised():
                self._raised(item)
            case SessionEvent():
                self._session(line, item)
            case Lost():
                log.error("order_callbacks_dropped", venue=VENUE, count=item.callbacks)
                self._doubt_all(f"{item.callbacks} callbacks were let go")

    def _take(self, line: Line, out: Out) -> None:
        for report in out.reports:
            self._on_report(report)
        for entry in out.cancels:
            self._put_cancel(line, entry, entry.ref, entry.venue_id)
        if out.lost:
            log.error("order_callback_unreadable", venue=VENUE, words=out.lost)
            self._doubt_all(out.lost)

    def _raised(self, item: Raised) -> None:
        report = self._translator.raised(item)
        log.warning("order_call_failed", venue=VENUE, code=report.code, words=report.reason)
        if report.ref or report.venue_id:
            self._on_report(report)

    def _doubt_all(self, words: str) -> None:
        """Something was said and not understood: the router has to ask about everything."""
        self._downs += 1
        self._on_report(Report(kind=ReportKind.LINE_DOWN, reason=words))
        if self._is_up:
            self._on_report(Report(kind=ReportKind.LINE_UP))

    def _session(self, line: Line, event: SessionEvent) -> None:
        if line is not self._line:
            return  # of a login that is being opened or given up
        match session_signal(event.code):
            case "down":
                self._down(line, f"session event {event.code}: {words_of(event.words)}")
            case "up" if self._down_since_ns is not None:
                self._down_since_ns = None
                self._up()
            case _:
                log.debug("sdk_event", venue=VENUE, code=event.code, words=words_of(event.words))

    def _up(self) -> None:
        self._is_up = True
        log.info("order_line_up", venue=VENUE, account=self._config.name)
        self._on_report(Report(kind=ReportKind.LINE_UP))

    def _down(self, line: Line, words: str) -> None:
        """New orders that wait do not leave any more; cancels go on trying."""
        if self._down_since_ns is None:
            self._down_since_ns = self._clock.mono_ns()
        self._tell_dropped(line.lanes.drop_orders(), LINE_DOWN, "the line went down before it left")
        if self._is_up:
            self._is_up = False
            self._downs += 1
            log.warning("order_line_down", venue=VENUE, account=self._config.name, words=words)
            self._on_report(Report(kind=ReportKind.LINE_DOWN, reason=words))

    # The login ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. Raises BrokerError (FATAL) only."""
        while True:
            try:
                async with self._login() as line:
                    self._line, self._down_since_ns = line, None
                    self._has_opened = True
                    self._up()
                    words = await self._hold(line)
                    log.warning("order_login_ended", venue=VENUE, words=words)
            except BrokerError as error:
                # A login that was accepted once may be refused for a while (a suspension).
                if error.action is Action.FATAL and not self._has_opened:
                    raise
                log.warning("order_login_failed", venue=VENUE, words=str(error), hint=error.hint)
                await self._clock.sleep(LOGIN_REST_SECONDS)

    @asynccontextmanager
    async def _login(self) -> AsyncIterator[Line]:
        """A line, within the login budget. Raises BrokerError."""
        for rate in self._logins:
            while wait_ns := rate.take(self._clock.mono_ns()):
                if wait_ns > LOGIN_REST_SECONDS * NS_PER_SECOND:
                    log.error("order_logins_used_up", venue=VENUE, account=self._config.name)
                await self._clock.sleep(wait_ns / NS_PER_SECOND)
        line = Line(
            self._config,
            confirm=self._confirm,
            on_items=lambda items: self._on_items(line, items),
            rate=self._rate,
            clock=self._clock,
            factory=self._factory,
        )
        try:
            await line.open()
            yield line
        finally:
            if self._line is line:
                self._down(line, "the login ends")
            await line.close()
            if self._line is line:
                self._line = None

    async def _hold(self, line: Line) -> str:
        """Stay while the login is of use; why it is not any more."""
        failures, probed_ns = 0, self._clock.mono_ns()
        wait_ns = round(self._config.identify_seconds_max * NS_PER_SECOND)
        while True:
            await self._clock.sleep(TICK_SECONDS)
            now_ns = self._clock.mono_ns()
            for report in self._translator.overdue(now_ns, wait_ns):
                self._on_report(report)
            down_ns = now_ns - (self._down_since_ns or now_ns)
            if down_ns >= self._config.down_seconds_max * NS_PER_SECOND:
                return f"the SDK has not reconnected within {self._config.down_seconds_max} s"
            if now_ns - probed_ns < self._config.probe_seconds * NS_PER_SECOND:
                continue
            probed_ns = now_ns
            try:
                await line.query(line.client.probe, "probe")
                failures = 0
                await self._check_health(line)
            except BrokerError as error:
                failures += 1
                log.warning("order_probe_failed", venue=VENUE, words=str(error), count=failures)
                if failures >= self._config.probe_failures_max:
                    return "the session looks logged in and does not answer"

    async def _check_health(self, line: Line) -> None:
        """The SDK's own sign that it missed a message: everything is in doubt until it is asked."""
        reasons = await line.query(line.client.health, "health")
        if reasons and reasons != self._degraded:
            self._doubt_all(f"the SDK may have missed messages: {', '.join(reasons)[:120]}")
        self._degraded = reasons

    # Lists --------------------------------------------------------------------------------------

    async def snapshot(self) -> Snapshot:
        """List orders, deals, positions and the account. Raises BrokerError."""
        line = self._line
        if line is None or not self._is_up:
            raise BrokerError(f"{VENUE}: the line is down", venue=VENUE)
        downs = self._downs
        listed = await self._queries.snapshot(line)
        was_up = self._is_up and self._downs == downs and self._line is line
        if listed.is_healthy and was_up:
            self._degraded = ()
            return listed
        return msgspec.structs.replace(listed, is_healthy=False)

    async def cancel_all(self) -> int:
        """Cancel until the venue lists nothing open; on a login of its own without a live one."""
        line = self._line
        if line is not None:
            self._tell_dropped(line.lanes.drop_orders(), HALTED, "cancel-all came before it left")
        if line is not None and self._is_up:
            return await self._queries.cancel_all(line)
        async with self._login() as own:
            return await self._queries.cancel_all(own)


def _make(section: AccountSection, context: BrokerContext) -> ShioajiBroker:
    assert isinstance(section, ShioajiAccountConfig)
    return ShioajiBroker(section, context)


BROKER: Final = BrokerKind(make=_make, venue=lambda _: VENUE)
