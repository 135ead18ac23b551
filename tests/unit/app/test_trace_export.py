"""The exporter's queue and thread: bounded, counted, and nobody waits for a dead collector.

Method: real exporters; the collector is a port of this machine where nobody listens.
"""

from __future__ import annotations

import socket
import sys

import pytest

from tickd.app.trace_export import TraceExporter
from tickd.app.tracing_config import TracingConfig
from tickd.errors import TickdError
from tickd.telemetry.traces import Span, Trace

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="tickd[tracing]")

SPAN = Span(
    name="a b", kind="client", span_id=2, parent_id=0, began_ns=1, ended_ns=2, attributes={"k": 1}
)
TRACE = Trace(trace_id=1, why="ratio", frame_last=1, events=1, latency_ns=1, spans=(SPAN,) * 10)


@pytest.fixture
def endpoint() -> str:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def exporter(endpoint: str, **settings: object) -> TraceExporter:
    config = TracingConfig(enabled=True, endpoint=endpoint, timeout_ms=50, **settings)  # type: ignore[arg-type]
    return TraceExporter(config, node=1)


def test_the_queue_is_bounded_by_spans(endpoint: str) -> None:
    each = exporter(endpoint, queue_spans_max=64)
    assert [each.offer(TRACE, 0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert each.queued_spans == 60
    each.stop()
    assert not each.offer(TRACE, 0)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_dead_collector_costs_spans_and_nothing_else(endpoint: str, protocol: str) -> None:
    pytest.importorskip("grpc", reason="tickd[tracing]")
    each = exporter(endpoint, protocol=protocol)
    assert all(each.offer(TRACE, 0) for _ in range(5))
    each.start()
    each.stop()
    assert (each.failed_spans, each.exported_spans) == (50, 0)
    assert each.fault is not None
    assert each.queued_spans == 0


def test_without_opentelemetry_it_says_what_to_install(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TickdError, match="not installed") as raised:
        exporter(endpoint)
    assert raised.value.hint is not None
    assert "tickd[tracing]" in raised.value.hint
