"""Trading in the daemon: gate, router and brokers joined to the market, the strategies and the log.

What a strategy asks for goes through the gate to its account's broker; what the venue says comes
back as control records, which are the strategies' order events, too. Nothing here decides whether
an order may leave.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

import structlog

from recorder.trading.sink import TradingSink
from risk.approval import Denied
from risk.brokers.port import AccountSection, Broker, BrokerContext, Traded
from risk.brokers.registry import find, make
from risk.figures import Figures
from risk.gate import Gate
from risk.kill import KillSwitch
from risk.kill_hooks import Hooks
from risk.ledger import Ledger
from risk.limits import Limits
from risk.order_facts import Fill, Order
from risk.order_numbers import OrderNumbers
from risk.orders import NEVER_LEFT, Report, ReportKind, Request, Snapshot
from risk.outbox import Outbox
from risk.prices import Prices
from risk.router import Router
from risk.settling import Alert
from tickd.app.config import Config
from tickd.app.control import Command, signed
from tickd.app.flattening import Flattening
from tickd.app.halting import Halting
from tickd.app.instruments import Instruments
from tickd.app.ordering import Ordering
from tickd.app.risk_metrics import RiskPicture
from tickd.app.tap import Tap
from tickd.app.told_orders import told_at_the_end
from tickd.app.trading_halts import TradingHalts
from tickd.app.trading_market import HANDLER, SeenMarket
from tickd.app.trading_picture import drawn, pictured
from tickd.bus import Bus, HandlerFailure
from tickd.errors import Action, TickdError
from tickd.native import NativeError, RawLog
from tickd.ports import Clock

__all__ = ["Trading"]

log = structlog.get_logger(__name__)

# A new file of numbers begins behind whatever an old one can have given out: so many a second of
# its life. 36^6 of them, all that fits Shioaji's field, last until 2043.
_NUMBERS_PER_S: Final = 4
_NUMBERS_SINCE_S: Final = 1_767_225_600  # 2026-01-01
_LOOK_S: Final = 0.25
_STOP_S: Final = 5.0


@final
class Trading:
    """All accounts of one daemon. Without any, the gate denies whatever is asked for."""

    def __init__(
        self,
        config: Config,
        *,
        halting: Halting,
        tap: Tap,
        bus: Bus,
        raw_log: RawLog,
        definitions: Callable[[], list[tuple[int, bytes]]],
        clock: Clock,
    ) -> None:
        """`definitions`: of the instruments that the raw log knew; what a symbol means last."""
        self._config: Final = config
        self._note: Final = tap.note
        self._raw_log: Final = raw_log
        self.clock: Final = clock
        self._word: Final = halting.word
        self._accounts: Final = {each.name: each.account for each in config.strategies}
        self._tap: Final = tap
        self._bus: Final = bus
        self.instruments: Final = Instruments()
        self.gate: Final = Gate(Limits(config.risk.limits_only), halt=halting.word)
        sections = {each.name: each for each in config.accounts}
        self._figures: Final = Figures(self.gate)
        self.ledger: Final = Ledger(
            {name: each.currency for name, each in sections.items()},
            gate=self.gate,
            directory=config.state_dir / "risk",
            clock=clock,
            strategies=self._accounts,
        )
        self._halts: Final = TradingHalts(
            halting.triggers,
            gate=self.gate,
            instruments=self.instruments,
            ledger=self.ledger,
            raw_log=raw_log,
            lag_ms_max=config.risk.triggers.lag_ms_max,
            clock=clock,
        )
        if sections:
            self._hear(tap)
            self._see_market()
        self.brokers: Final = {name: self._broker(each) for name, each in sections.items()}
        self.router: Final = self._router()
        self.flattening: Final = Flattening(
            router=self.router, ledger=self.ledger, instruments=self.instruments, clock=clock
        )
        self.alerts: dict[str, int] = {}
        # Of what was recorded, by verdict and reason, by state, by action.
        self.decisions: Final[Counter[tuple[str, str]]] = Counter()
        self.order_news: Final[Counter[str]] = Counter()
        self.audits: Final[Counter[str]] = Counter()
        # What stores the records of all this; the wiring gives it.
        self.rows: TradingSink | None = None
        self.switch: Final[KillSwitch] = halting.join(self._hooks())
        self._halts.join(self.switch, self.router, self.brokers)
        if sections:
            self._recover(definitions())

    def handler_failed(self, failure: HandlerFailure) -> None:
        """Halt what has no prices any more: everything, or the account that plays the market."""
        name, _, account = failure.name.partition(" ")
        if name != HANDLER or not failure.switched_off:
            return
        reason = f"the bus handler {failure.name!r} was switched off: {failure.error!r}; restart"
        self.switch.trip(
            reason, scope="account" if account else "global", key=account, source="bus"
        )

    def watch_lag(self, lag_s: Callable[[], float]) -> None:
        """What tells how late market data is."""
        self._halts.lag_s = lag_s

    def _see_market(self) -> None:
        """Give the gate its prices, before the accounts see the same burst."""
        self._bus.handle_bursts(Prices(self.gate, self._bus.topic_name).take, name=HANDLER)
        self._halts.feeds.join(self._bus, self._tap, HANDLER)
        self._bus.watch_failures(self.handler_failed)

    # Construction ---------------------------------------------------------------------------------

    def _broker(self, section: AccountSection) -> Broker:
        venue = find(section).venue(section)
        return make(
            section,
            BrokerContext(
                clock=self.clock,
                on_report=partial(self._report, section.name),
                confirm=self.gate.confirm,
                instrument=partial(self.instruments.traded, venue),
                market=SeenMarket(self._tap, self._bus, section.name),
                held=partial(self.ledger.positions.items, section.name),
                is_halted=lambda: self._word.is_halted,
                ordered=partial(self._ordered, section.name),
            ),
        )

    def _ordered(self, account: str, ref: str, venue_id: str) -> Traded | None:
        """What an order is in: its symbol may mean something else by now."""
        order = self.router.table.find(account, ref, venue_id)
        return None if order is None else self.instruments.of_number(order.request.instrument)

    def _router(self) -> Router:
        directory, keys = self._config.state_dir / "risk", self._config.risk.router
        wall_s = self.clock.wall_ns() // 1_000_000_000
        first = max(1, (wall_s - _NUMBERS_SINCE_S) * _NUMBERS_PER_S)
        router = Router(
            keys,
            gate=self.gate,
            brokers=self.brokers,
            outbox=Outbox(
                directory / "outbox",
                durability=keys.durability,
                bytes_max=keys.outbox_bytes_max,
                clock=self.clock,
            ),
            numbers=OrderNumbers(directory / "numbers", first=first),
            clock=self.clock,
            record=self._record,
            on_fill=self._fill,
            on_alert=self._alert,
            halt_instrument=self._halts.instrument_in_doubt,
            on_snapshot=self._snapshot,
            figures=self._figures_of,
        )
        router.limits = self.gate.limits.hash
        return router

    def _recover(self, definitions: list[tuple[int, bytes]]) -> None:
        """Read what the last life left; a start that cannot read it stays halted."""
        for number, definition in definitions:
            self._define(number, definition)
        self._read_orders()
        self._halts.look_at_meanings()

    def _read_orders(self) -> None:
        try:
            recovered = self.router.recover()
            self.ledger.recover(recovered.executed, self.router.table.held())
            for words in self.ledger.problems():
                self._alert(Alert("POSITIONS_DAMAGED", "", text=words))
            raw = self._config.state_dir / "raw"
            told = told_at_the_end(raw, int(self._raw_log.recovery["frame_last"]))
            again = self.router.tell_again(recovered, told)
        except (TickdError, OSError, NativeError) as error:
            self._halts.problem = str(error)
            log.error("orders_not_recovered", words=str(error))  # noqa: TRY400 - on screen, too
            return
        log.info(
            "orders_recovered",
            open=recovered.open_count,
            unknown=recovered.unknown_count,
            torn_bytes=recovered.torn_bytes,
            told_again=again,
        )

    def _hooks(self) -> Hooks:
        if self.brokers:
            return self._halts.hooks(self.router, self._audit)
        return Hooks(record=self._audit)

    def _figures_of(self, request: Request, price: int | None, size: int) -> dict[str, int]:
        names = (request.account, request.strategy, request.instrument)
        return self._figures.of(*names, request.side, price, size)

    def _record(self, fields: dict[str, object]) -> None:
        """Put a control record into the raw log, and count it."""
        kind = fields["kind"]
        if kind == "risk":
            self.decisions[str(fields["verdict"]), str(fields["reason"])] += 1
        elif kind == "order":
            self.order_news[str(fields["state"])] += 1
        elif kind == "audit":
            self.audits[str(fields["action"])] += 1
        self._note(fields)

    def _audit(self, said: dict[str, object]) -> None:
        """Record who halted or armed: it is not lost with the next crash."""
        self._record(said)
        self._raw_log.write_now(sync=True)

    # What strategies ask for ----------------------------------------------------------------------

    def ask(self, fields: Mapping[str, Any]) -> None:
        """Take an intent, a cancel or a replace that was checked and recorded."""
        client_id = fields["client_id"]
        if fields["kind"] == "cancel":
            self.router.cancel(client_id)
        elif fields["kind"] == "replace":
            self.router.replace(client_id, price=fields["price"], size=fields["size"])
        else:
            self._submit(fields)

    def _submit(self, fields: Mapping[str, Any]) -> None:
        request = Request(
            client_id=fields["client_id"],
            strategy=fields["strategy"],
            account=self._accounts.get(fields["strategy"], ""),
            instrument=fields["instrument"],
            venue=fields["venue"],
            symbol=fields["symbol"],
            side=fields["side"],
            price=fields["price"],
            size=fields["size"],
            time_in_force=fields["time_in_force"],
            reduce_only=fields["reduce_only"],
        )
        denied = self.router.submit(request)
        if isinstance(denied, Denied) and self.router.table.of_client(request.client_id) is None:
            # No order came of it, and so nothing else tells the strategy.
            keys = ("strategy", "client_id", "venue", "symbol", "instrument", "side")
            named = {key: fields[key] for key in keys}
            said = {"number": denied.number, "state": "denied", "reason": denied.reason.name}
            self._record({"kind": "order", **named, "account": request.account, **said})

    # What venues say ------------------------------------------------------------------------------

    def _hear(self, tap: Tap) -> None:
        tap.on_definition(self._define)
        tap.on_control(self.instruments.hear)

    def _define(self, number: int, definition: bytes) -> None:
        self.instruments.define(number, definition)
        self.gate.define(number, definition)
        self._figures.define(number, definition)
        self.ledger.define(number, definition)

    def _report(self, account: str, report: Report) -> None:
        if report.kind is ReportKind.REJECTED and report.code not in NEVER_LEFT:
            self._halts.rejected(account)
        self.router.on_report(account, report)

    def _fill(self, order: Order, fill: Fill) -> None:
        self.ledger.fill(order.request, order.number, fill)
        self._halts.watch_losses(order.request.account)

    def _snapshot(self, account: str, snapshot: Snapshot) -> None:
        self.ledger.snapshot(account, snapshot)
        self._record(self.ledger.record(account))

    def _alert(self, alert: Alert) -> None:
        self.alerts[alert.what] = self.alerts.get(alert.what, 0) + 1
        told = {"account": alert.account, "number": alert.number, "symbol": alert.symbol}
        log.error("order_alert", what=alert.what, words=alert.text, **told)

    def look(self) -> None:
        """Value what is held, look whether too much was lost, flatten where that is wanted."""
        self.ledger.value()
        self.ledger.follow(self.router.outbox.rotations_count)
        self._halts.watch_feeds()
        for account in self.brokers:
            self._halts.watch_losses(account)
        if self._word.is_reducing:
            self.flattening.step(self._word.epoch)
        else:
            self.flattening.rest()

    # Its life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep brokers connected and orders settled until cancelled. Raises TickdError(FATAL)."""
        if not self.brokers:
            return
        async with asyncio.TaskGroup() as tasks:
            for name, broker in self.brokers.items():
                tasks.create_task(self._run_broker(name, broker), name=f"broker {name}")
            tasks.create_task(self.router.run(), name="router")
            while True:
                self.look()
                await self.clock.sleep(_LOOK_S)
                await self.ledger.keep()

    async def _run_broker(self, name: str, broker: Broker) -> None:
        """One that cannot work keeps its account halted; the rest of the daemon goes on."""
        try:
            await broker.run()
        except TickdError as error:
            self._halts.broker_failed(name, error)
        except Exception as error:  # a bug in it, or several errors at once
            log.exception("broker_bug", account=name)
            words = f"the broker failed: {type(error).__name__}: {error}"
            self._halts.broker_failed(name, TickdError(words, action=Action.FATAL))

    async def stop(self) -> None:
        """Take back what is open, as the policy wants it; strategies have ended before."""
        if self.brokers and self._config.risk.cancel_at_stop and self.router.table.open:
            try:
                async with asyncio.timeout(_STOP_S):
                    left = await self.router.cancel_all()
            except (TickdError, TimeoutError) as error:
                log.error("cancel_failed", words=str(error) or "timeout")  # noqa: TRY400
            except Exception as error:  # a bug must not keep the daemon from draining
                log.exception("cancel_failed", words=str(error))
            else:
                if left:
                    log.error("orders_left", count=left, hint="ask the venue")

    async def close(self) -> None:
        """Write down what the next life begins with."""
        if self.brokers:
            await self.ledger.keep(at_once=True)
            await asyncio.to_thread(self.router.close)

    def reload(self, config: Config) -> None:
        """Put the file's limits in force. Raises LimitsError: they loosen while armed."""
        self.gate.reload(Limits(config.risk.limits_only))
        if self.gate.limits.hash == self.router.limits:
            return
        self.router.limits = self.gate.limits.hash
        said = {"scope": "global", "reason": self.router.limits, "source": signed("reload")}
        self._record({"kind": "audit", "action": "reload", **said})

    def commands(self) -> Mapping[str, Command]:
        """The control commands about orders, by name."""
        books = (self.router, self.ledger, self.instruments, self.brokers)
        return Ordering(*books, self._audit).commands()

    def risk_picture(self) -> RiskPicture:
        """What the metrics show."""
        return pictured(self)

    def draw(self) -> dict[str, Any]:
        """The section of `tickd status`."""
        return drawn(self, self._config.accounts)
