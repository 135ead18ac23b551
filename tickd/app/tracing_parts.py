"""Tracing's part of the composition root: makes it where `[tracing]` wants it, and joins it.

Without it every function here leaves the daemon as it was. It traces nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, final

import structlog

from recorder.sink.lanes import Job
from risk.approval import ApprovedOrder
from risk.brokers.port import Broker
from risk.orders import Wanted
from tickd.app.config import Config
from tickd.app.control import Command
from tickd.app.trace_export import NoExporter, TraceExporter
from tickd.app.tracing import Progress, Tracing
from tickd.app.tracing_config import TracingConfig
from tickd.errors import TickdError
from tickd.ports import Clock
from tickd.telemetry.exemplars import Exemplars
from tickd.telemetry.metrics import Metrics, Values
from tickd.telemetry.traces import BlockStamps

if TYPE_CHECKING:
    from tickd.app.parts import Parts

__all__ = ["Traces", "declare_traces"]

log = structlog.get_logger(__name__)


@final
class Traces:
    """The tracing of a daemon, or that there is none."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Raises nothing: without OpenTelemetry spans are counted as failed, and all else works."""
        self._config: Final = config
        self._clock: Final = clock
        self.tracing: Tracing | None = None
        self.exporter: TraceExporter | NoExporter | None = None
        if config.tracing.enabled and config.tracing.endpoint:
            self.exporter = _exporter(config.tracing, config.node.id)

    def join(self, parts: Parts) -> None:
        """Put stamps on the way of batches, before the daemon runs; nothing where it is off."""
        if not self._config.tracing.enabled:
            return
        raw, sink, tap = parts.raw_log, parts.storage.sink, parts.tap
        self.tracing = Tracing(
            self._config.tracing,
            node=self._config.node.id,
            clock=self._clock,
            topic_name=parts.decoder.topic_name,
            progress=Progress(
                written=lambda: raw.written,
                synced=lambda: raw.synced,
                settled=lambda: sink.frame_settled,
            ),
            export=None if self.exporter is None else self.exporter.offer,
        )
        tap.trace_with(self.tracing.decoding)
        tap.on_watermark(self.tracing.log_moved)
        tap.on_control(self.tracing.orders.hear)
        sink.delivery.on_acked = _acked(self.tracing)
        parts.strategies.tracing = self.tracing
        for group in parts.strategies.groups:
            group.answers.trade_with(self.tracing.orders.asking)
        brokers = parts.trading.brokers
        for name, broker in list(brokers.items()):
            brokers[name] = TracedBroker(broker, self.tracing, self._clock.mono_ns)

    @property
    def exemplars(self) -> Exemplars | None:
        """Traced values of the latency histograms; None where nothing is traced."""
        return None if self.tracing is None else self.tracing.exemplars

    def commands(self) -> dict[str, Command]:
        """The control commands, by name."""
        return {"traces": _refuse if self.tracing is None else self.tracing.ring.answer}

    async def run(self) -> None:
        """Make and export traces until cancelled; then what is known goes out, in bounded time."""
        if self.tracing is None:
            return
        if self.exporter is not None:
            self.exporter.start()
        try:
            await self.tracing.run()
        finally:
            self.tracing.step(every=True)
            if self.exporter is not None:
                await asyncio.to_thread(self.exporter.stop)


def _exporter(config: TracingConfig, node: int) -> TraceExporter | NoExporter:
    try:
        return TraceExporter(config, node=node)
    except TickdError as error:
        log.error("traces_not_exported", words=str(error), hint=error.hint)  # noqa: TRY400
        return NoExporter(str(error))


def _acked(tracing: Tracing) -> Callable[[Job, int], None]:
    def on_acked(job: Job, now_ns: int) -> None:
        if not job.ts_mono_ns:  # read again from the log: no batch of the bus is in it
            return
        plan = job.planned
        times_ns = (job.put_ns, job.sent_ns, now_ns)
        tracing.stored(BlockStamps(plan.table, plan.seq_first, plan.seq_last, plan.rows, *times_ns))

    return on_acked


@final
class TracedBroker:
    """A broker whose writes are timed; everything else is the broker's own."""

    def __init__(self, broker: Broker, tracing: Tracing, mono_ns: Callable[[], int]) -> None:
        self._broker: Final = broker
        self._order_sent: Final = tracing.orders.sent
        self._order_changed: Final = tracing.orders.changed
        self._mono_ns: Final = mono_ns
        self.run: Final = broker.run
        self.snapshot: Final = broker.snapshot
        self.cancel_all: Final = broker.cancel_all

    @property
    def is_up(self) -> bool:
        return self._broker.is_up

    def send(self, order: ApprovedOrder, ref: str) -> None:
        """Raises as the broker's."""
        began_ns = self._mono_ns()
        self._broker.send(order, ref)
        self._order_sent(order, began_ns)

    def cancel(self, order: Wanted) -> None:
        """Raises as the broker's."""
        began_ns = self._mono_ns()
        self._broker.cancel(order)
        self._order_changed("cancel", order.number, began_ns)

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        """Raises as the broker's."""
        began_ns = self._mono_ns()
        self._broker.replace(order, price=price, size=size)
        self._order_changed("replace", order.number, began_ns)


async def _refuse(_: Mapping[str, object]) -> object:
    raise TickdError("batches are not traced", hint="[tracing] enabled = true, and a restart")


def declare_traces(metrics: Metrics, traces: Traces) -> None:
    """Declare what tells about tracing; nothing where there is none."""
    tracing, exporter = traces.tracing, traces.exporter
    if tracing is None:
        return

    def by_reason(counted: Counter[str]) -> Callable[[], Values]:
        return lambda: {(reason,): float(count) for reason, count in counted.items()}

    prefix, by = "tickd_app_trace", ("reason",)
    metrics.read_counter(
        f"{prefix}_batches_total", "Batches traced, by why.", by_reason(tracing.made), by
    )
    metrics.read_counter(
        f"{prefix}_dropped_total",
        "Traces not made (budget, pending) and spans not queued (queue), by what was full.",
        by_reason(tracing.dropped),
        by,
    )
    metrics.read_gauge(
        f"{prefix}_pending_batches",
        "Traced batches of which not everything is known yet.",
        lambda: tracing.pending_count,
    )
    if exporter is None:
        return
    for name, text, read in (
        ("exported_spans", "Spans that the collector took.", lambda: exporter.exported_spans),
        ("failed_spans", "Spans that it did not take.", lambda: exporter.failed_spans),
        ("export_failures", "Requests to it that failed.", lambda: exporter.failures),
    ):
        metrics.read_counter(f"{prefix}_{name}_total", text, read)
    metrics.read_gauge(
        f"{prefix}_queued_spans", "Spans that wait for it.", lambda: exporter.queued_spans
    )
