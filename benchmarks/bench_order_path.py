"""An order's whole way on paper: submit, acknowledge, cancel, acknowledge, everything in it.

Gate, figures, numbers, outbox (`process`), router, the paper venue without latency, every control
record as JSON into a real raw log, and the order events that the decoder makes of them: what a
strategy's order costs the daemon's loop. "router alone" leaves out the venue and the log's records.

NautilusTrader is its backtest order path as it ships (BacktestEngine: strategy, order factory, risk
engine, execution engine, matching engine, cache, message bus) in a child process; it writes no
write-ahead file and no log.

Run: python benchmarks/bench_order_path.py [--rounds 10]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness
import orjson
import peer
from bench_paper_orders import DEFINITION, INSTRUMENT, NAUTILUS, quotes
from harness import Cost, Figure, least

from risk.approval import ApprovedOrder
from risk.brokers.paper.broker import PaperBroker
from risk.brokers.paper.config import PaperConfig
from risk.brokers.port import Broker
from risk.figures import Figures
from risk.gate import Gate
from risk.limits import UNLIMITED, LimitConfig, Limits, LimitsConfig, VenueLimitConfig
from risk.order_numbers import OrderNumbers
from risk.orders import AccountState, Report, ReportKind, Request, Wanted
from risk.outbox import Outbox
from risk.router import Router
from risk.router_config import RouterConfig
from tickd.clock import SystemClock
from tickd.native import Decoder, HaltWord, RawLog

PAIRS = 5_000
TICK_EVERY = 64
RATIO_LEAST = 5.0
LIMITED = frozenset(
    name
    for name in LimitConfig.__struct_fields__
    if name.endswith(("_max", "_bps", "_min", "window_ms"))
) - {"orders_window_ms", "executions_window_ms", "position_max", "order_qty_max"}


class AtOnce:
    """A venue that answers within the call."""

    is_up = True

    def __init__(self) -> None:
        self.report: Callable[[Report], None] = print

    def send(self, _order: ApprovedOrder, ref: str) -> None:
        self.report(Report(kind=ReportKind.ACKED, ref=ref, venue_id=ref, cum_size=0))

    def cancel(self, order: Wanted) -> None:
        self.report(Report(kind=ReportKind.CANCELLED, ref=order.ref, cum_size=0))

    def advance(self) -> None:
        """Everything was said already."""


def armed_gate(clock: SystemClock) -> Gate:
    word = HaltWord()
    assert word.arming().open(word.word)
    row = LimitConfig(
        tradable=True,
        hours=("always",),
        position_max="1000000",
        order_qty_max="1000",
        **dict.fromkeys(LIMITED, UNLIMITED),
    )
    venue = VenueLimitConfig(venue="okx", messages_max=1_000_000_000, window_ms=1_000)
    gate = Gate(Limits(LimitsConfig(limits=(row,), venues=(venue,))), halt=word)
    gate.define(INSTRUMENT, DEFINITION)
    gate.take(quotes(2)[0], mono_ns=clock.mono_ns())
    money = AccountState(currency="USDT", equity=10**15, free=10**15)
    gate.account("paper", money, mono_ns=clock.mono_ns())
    return gate


def order_path(*, whole: bool) -> Cost:
    clock = SystemClock()
    gate = armed_gate(clock)
    figures = Figures(gate)
    figures.define(INSTRUMENT, DEFINITION)
    with tempfile.TemporaryDirectory(prefix="tickd-orders-") as name:
        folder = Path(name)
        log, decoder = RawLog(str(folder / "raw"), node=1), Decoder()
        log.restore_decoder(decoder)
        venue: AtOnce | PaperBroker = AtOnce()
        if whole:
            venue = PaperBroker(
                PaperConfig(name="paper", entry_us=(0,), response_us=(0,), open_orders_max=65_536),
                account="paper",
                on_report=lambda report: router.on_report("paper", report),
                clock=clock,
                call_soon=lambda _turn: None,
            )
            venue.define(INSTRUMENT, DEFINITION)
            venue.take(quotes(2)[0])
        config = RouterConfig(durability="process")
        outbox = Outbox(
            folder / "outbox", durability="process", bytes_max=config.outbox_bytes_max, clock=clock
        )
        numbers = OrderNumbers(folder / "numbers", first=1)
        broker: Broker = venue  # type: ignore[assignment]  # AtOnce is as much of it as is used
        router = Router(
            config,
            gate=gate,
            brokers={"paper": broker},
            outbox=outbox,
            numbers=numbers,
            clock=clock,
            record=(lambda fields: log.record(0, "C", orjson.dumps(fields)))
            if whole
            else lambda _fields: None,
            on_fill=lambda _order, _fill: None,
            on_alert=lambda alert: _stop(f"an alert: {alert}"),
            halt_instrument=lambda _instrument, why: _stop(why),
            on_snapshot=lambda _account, _snapshot: None,
            figures=lambda request, price, size: figures.of(
                request.account, request.strategy, request.instrument, request.side, price, size
            ),
        )
        if isinstance(venue, AtOnce):
            venue.report = partial(router.on_report, "paper")
        router.recover()
        spent = 0
        for at in range(PAIRS):
            began = time.process_time_ns()
            _one(router, venue, at)
            if whole:
                log.end_burst(decoder)
            spent += time.process_time_ns() - began
            if at % TICK_EVERY == 0:
                router.tick()
                while outbox.is_carrying:
                    router.tick()
        assert not router.table.open
        assert router.counts.reports == 2 * PAIRS
        router.close()
        log.close()
    return Cost(spent, PAIRS)


def _one(router: Router, venue: AtOnce | PaperBroker, at: int) -> None:
    client_id = 9 << 32 | at
    number = router.submit(
        Request(
            client_id=client_id,
            strategy="bench",
            account="paper",
            instrument=INSTRUMENT,
            venue="okx",
            symbol="BTC-USDT-SWAP",
            side="B",
            price=500_000 + at % 1_000,
            size=1,
        )
    )
    if not isinstance(number, int):
        _stop(f"denied: {number}")
    venue.advance()
    router.cancel(client_id)
    venue.advance()


def _stop(why: str) -> None:
    raise SystemExit(why)


def figures_of(rounds: int) -> list[Figure]:
    cases = {
        "router alone": partial(order_path, whole=False),
        "whole path": partial(order_path, whole=True),
    }
    with peer.nautilus_orders(2_000) as nautilus:
        ns = least({**cases, NAUTILUS: nautilus}, rounds)
    out = [Figure(f"orders.{name}", cost / 1e3, "us", name) for name, cost in ns.items()]
    text = "submit, ack, cancel, ack: the whole path on paper against NautilusTrader's"
    ratio = ns[NAUTILUS] / ns["whole path"]
    return [*out, Figure("orders.ratio", ratio, "x", text, least=RATIO_LEAST)]


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures_of(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
