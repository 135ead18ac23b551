"""Traces to an OTLP collector, from a thread of its own behind a bounded queue.

The loop only appends to the queue; spans are made, encoded and sent here. A collector that is away
costs spans, which are counted, and nothing else. OpenTelemetry is imported when this is
constructed, never before.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, final

import structlog

from tickd.app.tracing_config import TracingConfig, header_pairs
from tickd.errors import Action, TickdError
from tickd.native import VERSION
from tickd.telemetry.traces import Span, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["NoExporter", "TraceExporter"]

log = structlog.get_logger(__name__)

# Spans of one request: OpenTelemetry's own default.
BATCH_SPANS: Final = 512
# Traces wait so long for others that can go with them.
WAIT_S: Final = 1.0
STOP_S_MAX: Final = 3.0


@final
class TraceExporter:
    """Takes traces from the loop; `start` and `stop` its thread."""

    def __init__(self, config: TracingConfig, *, node: int) -> None:
        """Raises TickdError(FATAL): OpenTelemetry, or its exporter, is not installed."""
        self._queue: Final[deque[tuple[Trace, int]]] = deque()
        self._queued_spans = 0
        self._queue_spans_max: Final = config.queue_spans_max
        self._change: Final = threading.Condition()
        self._is_stopping = False
        self.exported_spans = 0
        self.failed_spans = 0
        self.failures = 0
        self.fault: str | None = None
        try:
            self._exporter: Final = _exporter_of(config)
            self._spans_of: Final = _maker(config.service_name, node)
        except ImportError as error:
            raise TickdError(
                f"[tracing] needs {error.name}, which is not installed",
                action=Action.FATAL,
                hint="pip install 'tickd[tracing]', or leave tracing.endpoint empty",
            ) from error
        # It says two lines per request that fails; ours say it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._thread: Final = threading.Thread(target=self._work, name="traces", daemon=True)

    def offer(self, trace: Trace, wall_less_mono_ns: int) -> bool:
        """Queue a trace; False: there is no room, or the end has begun. Never waits."""
        with self._change:
            room = self._queue_spans_max - self._queued_spans
            if self._is_stopping or len(trace.spans) > room:
                return False
            self._queue.append((trace, wall_less_mono_ns))
            self._queued_spans += len(trace.spans)
            if self._queued_spans >= BATCH_SPANS:
                self._change.notify()
        return True

    @property
    def queued_spans(self) -> int:
        return self._queued_spans

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, within a few seconds; blocks so long."""
        with self._change:
            self._is_stopping = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)
        self._exporter.shutdown()

    def _take(self) -> list[tuple[Trace, int]]:
        """Wait for some, at most BATCH_SPANS and the rest of a trace; empty at the end."""
        with self._change:
            if not self._is_stopping and self._queued_spans < BATCH_SPANS:
                self._change.wait(WAIT_S)
            taken, spans = [], 0
            while self._queue and spans < BATCH_SPANS:
                entry = self._queue.popleft()
                taken.append(entry)
                spans += len(entry[0].spans)
            self._queued_spans -= spans
        return taken

    def _work(self) -> None:
        while True:
            taken = self._take()
            if taken:
                self._send(taken)
            elif self._is_stopping:
                return

    def _send(self, taken: Sequence[tuple[Trace, int]]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 - see above

        spans = [span for trace, offset_ns in taken for span in self._spans_of(trace, offset_ns)]
        try:
            is_sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
            words = "the collector did not take them"
        except Exception as error:  # noqa: BLE001 - the top of this thread; traces are no truth
            is_sent, words = False, f"{type(error).__name__}: {error}"
        if is_sent:
            self.exported_spans += len(spans)
            if self.fault is not None:
                log.info("traces_exported_again", lost_spans=self.failed_spans)
            self.fault = None
            return
        self.failures += 1
        self.failed_spans += len(spans)
        if self.fault is None:
            log.warning("traces_not_exported", words=words, spans=len(spans))
        self.fault = words


@final
class NoExporter:
    """Stands where the exporter could not be made: every span is counted as failed."""

    def __init__(self, fault: str) -> None:
        self.fault: Final = fault
        self.exported_spans: Final = 0
        self.failed_spans = 0
        self.failures: Final = 1
        self.queued_spans: Final = 0

    def offer(self, trace: Trace, _wall_less_mono_ns: int) -> bool:
        self.failed_spans += len(trace.spans)
        return True

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """There is nothing to stop."""


def _exporter_of(config: TracingConfig) -> SpanExporter:
    headers, timeout_s = header_pairs(config.headers), config.timeout_ms / 1000
    if config.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(
            endpoint=config.endpoint,
            insecure=config.endpoint.startswith("http://"),
            headers=headers,
            timeout=timeout_s,
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter as HttpExporter,
    )

    endpoint = config.endpoint.rstrip("/")
    if not endpoint.endswith("/v1/traces"):
        endpoint += "/v1/traces"
    return HttpExporter(endpoint=endpoint, headers=headers, timeout=timeout_s)


def _maker(service_name: str, node: int) -> Callable[[Trace, int], list[ReadableSpan]]:
    """Return what makes OpenTelemetry's spans of ours, with ids and times that stand already."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags  # noqa: PLC0415

    resource = Resource.create(
        {
            "service.name": service_name,
            "service.version": VERSION,
            "service.instance.id": f"node-{node}",
        }
    )
    scope = InstrumentationScope("tickd", VERSION)
    kinds = {kind.name.lower(): kind for kind in SpanKind}
    sampled = TraceFlags(TraceFlags.SAMPLED)

    def context(trace_id: int, span_id: int) -> SpanContext:
        return SpanContext(trace_id, span_id, is_remote=False, trace_flags=sampled)

    def made(trace: Trace, span: Span, offset_ns: int) -> ReadableSpan:
        attributes: dict[str, Any] = {**span.attributes}
        return ReadableSpan(
            span.name,
            context=context(trace.trace_id, span.span_id),
            parent=context(trace.trace_id, span.parent_id) if span.parent_id else None,
            resource=resource,
            attributes=attributes,
            links=[Link(context(*link)) for link in span.links],
            kind=kinds[span.kind],
            instrumentation_scope=scope,
            start_time=span.began_ns + offset_ns,
            end_time=span.ended_ns + offset_ns,
        )

    return lambda trace, offset_ns: [made(trace, span, offset_ns) for span in trace.spans]
