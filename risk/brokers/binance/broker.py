"""The broker of one Binance account: orders out in the caller's step, reports in as they come.

It implements `risk.brokers.port.Broker`. Nothing that may have left is ever sent again; only
questions are repeated. What an order is, the router knows; here is only what waits for an answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final, NamedTuple

import msgspec
import structlog

from risk.approval import ApprovedOrder
from risk.brokers.binance.asking import CANCELS_AT_ONCE, cancel_everything, read_lists
from risk.brokers.binance.config import BinanceConfig
from risk.brokers.binance.errors import CLOCK, RefusedError, refusal_of
from risk.brokers.binance.listings import Listings
from risk.brokers.binance.reports import Answer, OwnScales, Reader, ScalesOf, none_known
from risk.brokers.binance.rest import NS_PER_S, Rest
from risk.brokers.binance.session import Session
from risk.brokers.binance.signing import key_of
from risk.brokers.binance.wire import Call, Query, RequestId, Scales, Wire
from risk.brokers.port import AccountSection, BrokerContext, BrokerKind, OnReport
from risk.errors import BrokerError, NotSentError
from risk.orders import Report, ReportKind, Snapshot, Wanted
from tickd.errors import Action
from tickd.ports import Clock

__all__ = ["BROKER", "BinanceBroker", "Counters"]

log = structlog.get_logger(__name__)

# Requests without an answer; the venue's own limits lie far below.
PENDING_MAX: Final = 4_096


@dataclass(slots=True)
class Counters:
    """For metrics: what went out, what came in, what was no use."""

    requests: int = 0
    answers: int = 0
    reports: int = 0
    refusals: int = 0
    timeouts: int = 0
    sessions: int = 0
    connect_failures: int = 0
    events_foreign: int = 0
    events_idle: int = 0
    events_unknown: int = 0
    unreadable: int = 0


class _Pending(NamedTuple):
    request: RequestId
    sent_mono_ns: int


class BinanceBroker:
    """One account at one market."""

    def __init__(
        self,
        config: BinanceConfig,
        *,
        clock: Clock,
        on_report: OnReport,
        scales_of: ScalesOf,
        own_scales: OwnScales = none_known,
        is_halted: Callable[[], bool] = lambda: False,
        jitter: Callable[[], float] = random.random,
        ssl_context: SSLContext | None = None,
    ) -> None:
        """Raises ConfigError: credentials that cannot be read."""
        self._config = config
        self._clock = clock
        self._on_report = on_report
        self._scales_of = scales_of
        self._own_scales = own_scales
        self._is_halted = is_halted
        self._jitter = jitter
        self._ssl = ssl_context
        self._key = key_of(config)
        self._wire = Wire(config.market, config.order_prefix)
        self._reader = Reader(config.market, self._wire, scales_of, own_scales)
        self._rest = Rest(
            config, self._key, self._wire, clock=clock, jitter=jitter, ssl_context=ssl_context
        )
        self._session: Session | None = None  # while it is up
        self._pending: dict[str, _Pending] = {}  # by request id, oldest first
        self._number = 0
        # While `run` lives: cancels that go over REST because there is no line.
        self._tasks: asyncio.TaskGroup | None = None
        self._detours: set[str] = set()
        self._turns = asyncio.Semaphore(CANCELS_AT_ONCE)
        self._heard_ns = 0  # the last event of the user data stream
        self._owed_ns: int | None = None  # since when one is due: a request was accepted
        self._timeout_ns = round(config.answer_timeout_s * NS_PER_S)
        self._silence_ns = round(config.stream_silence_s * NS_PER_S)
        self.counters = Counters()

    @property
    def is_up(self) -> bool:
        return self._session is not None

    # Orders ---------------------------------------------------------------------------------

    def send(self, order: ApprovedOrder, ref: str) -> None:
        request = order.request
        if request.symbol not in self._config.symbols:
            # Snapshots would not list it, and its absence would be taken for a proof.
            raise NotSentError(f"{request.symbol} is not among the symbols of this account")
        call = self._wire.new_order(request, ref, self._scales(request.symbol, ref))
        self._write("n", ref, call)

    def cancel(self, order: Wanted) -> None:
        """As the port says; without a line the request goes out over REST, a moment later."""
        if self._session is None and self._tasks is not None:
            if order.ref not in self._detours:
                query = self._wire.cancel_query(order)
                self._detours.add(order.ref)
                name = f"binance cancel {order.ref}"
                self._tasks.create_task(self._cancel_over_rest(order.ref, query), name=name)
            return
        self._write("c", order.ref, self._wire.cancel(order))

    async def _cancel_over_rest(self, ref: str, query: Query) -> None:
        """Once; what becomes of it is a report like that of any cancel."""
        request = RequestId("c", ref)
        try:
            async with self._turns:
                body = await self._rest.send(query)
            self._tell(self._reader.accepted(request, msgspec.Raw(body)))
        except RefusedError as error:
            self._tell(self._reader.refused(request, error.refusal))
        except BrokerError as error:
            words = str(error)
            self._tell(Report(kind=ReportKind.IN_DOUBT, ref=ref, code="rest", reason=words))
        finally:
            self._detours.discard(ref)

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        scales = self._scales(order.symbol, order.ref)
        self._write(
            "r", order.ref, self._wire.replace(order, price=price, size=size, scales=scales)
        )

    def _scales(self, symbol: str, ref: str) -> Scales:
        scales = self._scales_of(symbol)
        if scales is None:
            raise NotSentError(f"{symbol} has no known scales")
        if (self._own_scales(ref, "") or scales) != scales:
            raise NotSentError(f"{symbol} has been defined anew, with other scales")
        return scales

    def _write(self, kind: str, ref: str, call: Call) -> None:
        if self._session is None:
            raise NotSentError("the line is down")
        now_ns = self._clock.mono_ns()
        self._give_up(now_ns)
        if len(self._pending) >= PENDING_MAX and kind == "n":
            raise NotSentError(f"{PENDING_MAX} requests wait for an answer")
        self._number += 1
        request_id = RequestId.text(kind, self._number, ref)
        # Before the write: what fails in it may have left all the same.
        self._pending[request_id] = _Pending(RequestId(kind, ref), now_ns)
        try:
            self._session.send(request_id, call)
        except NotSentError:
            self._pending.pop(request_id, None)
            raise
        self.counters.requests += 1

    # Heard ----------------------------------------------------------------------------------

    def _answered(self, answer: Answer) -> None:
        self.counters.answers += 1
        request = RequestId.read(answer.id)
        if request is None or answer.status is None:
            # Such as the refusal of a request that the venue could not read: of which one?
            self.counters.unreadable += 1
            if self._session is not None:
                self._session.end("an answer that belongs to no request")
            return
        pending = self._pending.pop(str(answer.id), None)
        if answer.status == 200:
            if pending is not None and self._heard_ns < pending.sent_mono_ns:
                self._owed_ns = self._owed_ns or self._clock.mono_ns()
            self._tell(self._reader.accepted(request, answer.result))
            return
        self.counters.refusals += 1
        refusal = refusal_of(answer.status, answer.error)
        if refusal.code == CLOCK and self._session is not None:
            # The clocks drifted apart: every further order would be refused like this one.
            self._session.resync()
        self._tell(self._reader.refused(request, refusal))

    def _event(self, body: bytes | msgspec.Raw) -> None:
        self._heard_ns, self._owed_ns = self._clock.mono_ns(), None
        heard = self._reader.event(body)
        if heard.report is not None:
            self._tell(heard.report)
        elif heard.kind == "foreign":
            self.counters.events_foreign += 1
        elif heard.kind == "idle":
            self.counters.events_idle += 1
        elif heard.kind == "unknown":
            self.counters.events_unknown += 1
            log.warning("binance_event_unknown", name=heard.words)
        else:
            self.counters.unreadable += heard.kind == "unreadable"
            if self._session is not None:
                self._session.end(f"user data stream: {heard.kind}: {heard.words}")

    def _tell(self, report: Report) -> None:
        self.counters.reports += 1
        self._on_report(report)

    def _tick(self) -> None:
        now_ns = self._clock.mono_ns()
        self._give_up(now_ns)
        owed_ns = self._owed_ns
        if owed_ns is not None and now_ns - owed_ns >= self._silence_ns and self._session:
            # Connected, and deaf: a wrong path of the venue is accepted and stays silent.
            self._session.end("no event of the user data stream after an accepted request")

    def _give_up(self, now_ns: int) -> None:
        """Requests that got no answer in time are in doubt."""
        while self._pending:
            request_id, oldest = next(iter(self._pending.items()))
            if now_ns - oldest.sent_mono_ns < self._timeout_ns:
                return
            del self._pending[request_id]
            self.counters.timeouts += 1
            words = f"no answer in {self._config.answer_timeout_s} s"
            self._tell(
                Report(
                    kind=ReportKind.IN_DOUBT, ref=oldest.request.ref, code="timeout", reason=words
                )
            )

    # The session ----------------------------------------------------------------------------

    async def run(self) -> None:
        async with self._rest.session():
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    await self._live()
            except* BrokerError as errors:
                raise errors.exceptions[0] from None
            finally:
                self._tasks = None

    async def _live(self) -> None:
        """One session after the other. Raises BrokerError(FATAL)."""
        failures = 0
        while True:
            session = self._new_session()
            began_ns = self._clock.mono_ns()
            wait_s = 0.0
            try:
                await session.open()
                self._up(session)
                await session.keep(self._tick, self._config.answer_timeout_s / 4)
            except BrokerError as error:
                if error.action is Action.FATAL:
                    raise
                self.counters.connect_failures += 1
                wait_s = error.retry_after_s if isinstance(error, RefusedError) else 0.0
                log.warning("binance_connect_failed", words=str(error))
            finally:
                session.end("session stopped")
            if session.fatal is not None:
                raise session.fatal
            lived_s = (self._clock.mono_ns() - began_ns) / NS_PER_S
            failures = 0 if lived_s > self._config.backoff_cap_s else failures + 1
            await self._clock.sleep(max(wait_s, self._pause_s(failures)))

    def _new_session(self) -> Session:
        return Session(
            self._config,
            self._key,
            self._wire,
            self._rest,
            clock=self._clock,
            on_answer=self._answered,
            on_event=self._event,
            on_end=self._down,
            is_halted=self._is_halted,
            ssl_context=self._ssl,
        )

    def _pause_s(self, failures: int) -> float:
        """Capped exponential with jitter, never less than half of the first pause."""
        first, cap = self._config.backoff_first_s, self._config.backoff_cap_s
        most = min(cap, first * 2.0 ** min(failures, 32))
        return max(first / 2, self._jitter() * most)

    def _up(self, session: Session) -> None:
        self._session = session
        self._owed_ns = None
        self.counters.sessions += 1
        log.info("binance_line_up", market=self._config.market, sessions=self.counters.sessions)
        self._tell(Report(kind=ReportKind.LINE_UP))

    def _down(self, words: str) -> None:
        """At once, in the callback that noticed it: nothing may be sent any more."""
        if self._session is None:
            return
        self._session = None
        self._pending.clear()  # LINE_DOWN puts all of it in doubt
        log.warning("binance_line_down", market=self._config.market, words=words)
        self._tell(Report(kind=ReportKind.LINE_DOWN, reason=words))

    # Questions ------------------------------------------------------------------------------

    async def snapshot(self) -> Snapshot:
        asked_mono_ns = self._clock.mono_ns()
        session = self._session
        config = self._config
        listings = Listings(
            config.market, self._wire, self._scales_of, config.symbols, self._own_scales
        )
        async with self._rest.session():
            await read_lists(
                listings,
                self._rest,
                self._wire,
                symbols=config.symbols,
                currency=config.currency,
                look_back_s=config.look_back_s,
            )
        if listings.holes:
            log.warning("binance_list_not_whole", holes=listings.holes[:10])
        return Snapshot(
            asked_mono_ns=asked_mono_ns,
            is_healthy=session is not None and session is self._session and not listings.holes,
            orders=listings.orders,
            fills=listings.fills,
            positions=listings.positions,
            account=listings.account,
        )

    async def cancel_all(self) -> int:
        async with self._rest.session():
            return await cancel_everything(
                self._rest,
                self._wire,
                clock=self._clock,
                timeout_s=self._config.cancel_all_timeout_s,
            )


def _make(section: AccountSection, context: BrokerContext) -> BinanceBroker:
    assert isinstance(section, BinanceConfig)

    def scales_of(symbol: str) -> Scales | None:
        traded = context.instrument(symbol)
        return None if traded is None else Scales(traded.price_scale, traded.size_scale)

    def own_scales(ref: str, venue_id: str) -> Scales | None:
        traded = context.ordered(ref, venue_id)
        return None if traded is None else Scales(traded.price_scale, traded.size_scale)

    return BinanceBroker(
        section,
        clock=context.clock,
        on_report=context.on_report,
        scales_of=scales_of,
        own_scales=own_scales,
        is_halted=context.is_halted,
    )


def _venue(section: AccountSection) -> str:
    assert isinstance(section, BinanceConfig)
    return "binance-spot" if section.market == "spot" else "binance-usdm"


def _check(section: AccountSection) -> None:
    assert isinstance(section, BinanceConfig)
    key_of(section)


BROKER: Final = BrokerKind(make=_make, venue=_venue, check=_check)
