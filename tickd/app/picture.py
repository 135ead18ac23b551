"""The daemon's picture of itself.

What `tickd status`, `/readyz` and the demo show. It reads, it changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from gateway.status import SessionStatus
from recorder.sink.sink import SinkState
from tickd.app.backends import described
from tickd.app.parts import Parts
from tickd.app.service_unit import unit_of_process
from tickd.bus import Bus
from tickd.bus_queue import TopicLag
from tickd.native import BUILD_PROFILE, VERSION, Decoder
from tickd.telemetry.latency_bounds import BOUNDS_NS

NS_PER_S = 1_000_000_000


class Picture:
    """Draws a daemon; one per daemon."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_ns = parts.clock.mono_ns()
        self.stopping = False
        self.http_port = 0  # 0 = no HTTP port is open

    async def answer(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The control command `status`; `topics: true` adds every topic."""
        return self.draw(topics=request.get("topics") is True)

    async def histograms(self, _: Mapping[str, object]) -> dict[str, list[int]]:
        """The control command `histograms`: counts since the start per interval of `bounds_ns`.

        One count more than bounds, for what is beyond the last. Differences of two answers tell
        about the time between them. What a strategy process measured is a second old at most.
        """
        parts = self._parts
        return {
            "bounds_ns": BOUNDS_NS,
            "recv_to_bus": parts.tap.publish_latency.counts(BOUNDS_NS),
            "recv_to_raw": parts.raw_log.write_latency.counts(BOUNDS_NS),
            "recv_to_ack": parts.storage.sink.delivery.ack_latency.counts(BOUNDS_NS),
            "loop_lag": parts.loop_lag.counts(BOUNDS_NS),
            **{
                f"recv_to_strategy.{config.name}": list(counts)
                for group in parts.strategies.groups
                if (counts := group.report.delay_counts)
                for config in group.strategies
            },
        }

    def draw(self, *, topics: bool) -> dict[str, Any]:
        parts = self._parts
        rows = self.topics() if topics else []
        return {
            "node": parts.config.node.id,
            "version": VERSION,
            "build": BUILD_PROFILE,
            "backends": [described(choice) for choice in parts.backends],
            "pid": os.getpid(),
            "unit": unit_of_process("self"),
            "state": self.state(),
            "waiting_for": self.waiting_for(),
            "uptime_s": self.uptime_s,
            "http_port": self.http_port,
            "raw_log": self.raw_log(),
            "disks": parts.disk.status(),
            "ship": parts.shipping.draw(),
            "risk": parts.halting.draw(),
            "trading": parts.trading.draw(),
            "repair": parts.storage.rebuilding.picture(),
            "universes": parts.universes.draw(),
            "decoder": parts.decoder.counters(),
            "bus": self.bus(),
            "sink": self.sink(),
            "sinks": [
                {"name": sink.name, "failures": sink.failures, "fault": sink.fault}
                for sink in parts.sinks
            ],
            "strategies": parts.strategies.draw(),
            "signals": parts.signals.draw(),
            "plan": {
                "paused_below": parts.planning.floor,
                "lag_s": parts.planning.lag_s,
                "reloads": parts.planning.reloads,
                "reloads_refused": parts.planning.reloads_refused,
                "refused": parts.planning.refused,
            },
            "venues": [msgspec.to_builtins(session.status()) for session in parts.sessions],
            "topics_count": parts.decoder.topic_count,
            "topics": rows,
        }

    @property
    def uptime_s(self) -> float:
        return (self._parts.clock.mono_ns() - self._started_ns) / NS_PER_S

    def state(self) -> str:
        if self.stopping:
            return "stopping"
        if self._parts.raw_log.fault is not None or self._parts.tap.paused:
            return "degraded"
        return "starting" if self.waiting_for() else "recording"

    def waiting_for(self) -> str:
        """What keeps the daemon from recording everything; empty when nothing does."""
        if self.stopping:
            return "stopping"
        if self._parts.raw_log.fault is not None:
            return f"raw log: {self._parts.raw_log.fault}"
        waits = (venue_waits_for(session.status()) for session in self._parts.sessions)
        return next(filter(None, waits), "")

    def raw_log(self) -> dict[str, Any]:
        raw = self._parts.raw_log
        return {
            **raw.stats(),
            "written": raw.written,
            "synced": raw.synced,
            "next_frame_no": raw.next_frame_no,
            "pending_bytes": raw.pending_bytes,
            "paused": self._parts.tap.paused,
            "pauses": self._parts.tap.pauses_total,
            "fault": raw.fault,
            "write_p99_ms": raw.write_latency.quantile(0.99) / 1e6,
            "fsync_p99_ms": raw.fsync_latency.quantile(0.99) / 1e6,
            "recovery": raw.recovery,
        }

    def bus(self) -> dict[str, Any]:
        stats = self._parts.bus.stats()
        return {
            "events": stats.events,
            "batches": stats.batches,
            "queues": [queue._asdict() for queue in stats.queues],
            "worst": [row._asdict() for row in stats.worst],
            "failures": stats.failures,
        }

    def sink(self) -> dict[str, Any]:
        storage = self._parts.storage
        sink, endpoint = storage.sink, storage.endpoint()
        delivery = sink.delivery
        counters = {
            name: getattr(each, name)
            for each in (sink.counters, delivery.counters)
            for name in each.__slots__
        }
        spilled = sink.plan.spilled()
        live = sink.state is SinkState.LIVE and storage.migrated
        return {
            **counters,
            "attempts_failed": dict(delivery.circuits.attempts_failed),
            "state": sink.state.value if storage.migrated else "waiting for ClickHouse",
            "live": live,
            "caught_up": live and not spilled and not delivery.spool.blocks,
            "url": endpoint.url if endpoint is not None else None,
            "fault": storage.fault or sink.plan.fault or delivery.circuits.fault,
            "pending_bytes": sink.held_bytes,
            "blocks_waiting": sink.blocks_waiting,
            "frames_behind": sink.frames_behind,
            "frame_settled": sink.frame_settled,
            "ack_p99_ms": delivery.ack_latency.quantile(0.99) / 1e6,
            "age_limit_ms": sink.policy.age_ms,
            "restarts": storage.embedded.restarts if storage.embedded is not None else 0,
            "hangs": storage.embedded.hangs if storage.embedded is not None else 0,
            "circuit": delivery.circuits.server.state.value,
            "tables_refused": [
                table
                for table in delivery.circuits.tables
                if delivery.circuits.table_refused(table)
            ],
            "spool": self.spool(),
            "spilled": [msgspec.to_builtins(each) for each in spilled],
            "queues": {
                name: asdict(reading) for name, reading in self._parts.queues.read().items()
            },
        }

    def spool(self) -> dict[str, Any]:
        spool = self._parts.storage.sink.delivery.spool.figures
        age_ns = self._parts.clock.wall_ns() - spool.oldest_ns if spool.oldest_ns else 0
        return {
            "bytes": spool.bytes,
            "blocks": spool.blocks,
            "oldest_age_s": max(0, age_ns) / NS_PER_S,
            "fault": spool.fault,
        }

    def topics(self) -> list[dict[str, Any]]:
        """Every topic, the busiest first; queue figures are those of the slowest subscription.

        `bus_p99_ms`: from the socket read to the bus, 99 % of the topic's events since the start.
        """
        parts = self._parts
        now_ns = parts.clock.mono_ns()
        worst = _slowest(parts.bus.topic_lag())
        p99_ns = {topic: ns for topic, _, ns in parts.tap.topic_latency.quantiles(0.99)}
        rows: list[dict[str, Any]] = []
        for number, events, mono_ns in parts.decoder.topic_stats():
            name = parts.decoder.topic_name(number)
            lag = worst.get(name)
            rows.append(
                {
                    "topic": name,
                    "events": events,
                    "silent_s": max(0, now_ns - mono_ns) / NS_PER_S if mono_ns else 0.0,
                    "depth": lag.depth if lag else 0,
                    "high_water": lag.high_water if lag else 0,
                    "oldest_age_s": lag.oldest_age_s if lag else 0.0,
                    "dropped": lag.dropped if lag else 0,
                    "bus_p99_ms": p99_ns.get(number, 0) / 1e6,
                }
            )
        rows.sort(key=lambda row: row["events"], reverse=True)
        return rows


def venue_waits_for(status: SessionStatus) -> str:
    """What keeps a venue from being recorded; empty when nothing does."""
    if not status.started:
        return f"{status.venue}: instruments"
    if not status.lines and status.symbols_missing:
        return f"{status.venue}: symbols that it does not list"
    for line in status.lines:
        if line.state not in ("streaming", "replacing"):
            return f"{status.venue} {line.endpoint}: {line.state}"
    return ""


def lag_rows(decoder: Decoder, bus: Bus) -> list[dict[str, object]]:
    """Every topic for the table `topic_lag`, and `*` for the queues of whole bursts."""
    worst = _slowest(bus.topic_lag(reset=True, reader="topic_lag"))
    events = {decoder.topic_name(number): count for number, count, _ in decoder.topic_stats()}
    rows: list[dict[str, object]] = []
    for topic in events.keys() | worst.keys():
        row = worst.get(topic)
        rows.append(
            {
                "topic": topic,
                "depth": row.depth if row else 0,
                "high_water": row.high_water if row else 0,
                "oldest_age_s": row.oldest_age_s if row else 0.0,
                "dropped": row.dropped if row else 0,
                "events": events.get(topic, row.events if row else 0),
            }
        )
    return rows


def _slowest(rows: Iterable[TopicLag]) -> dict[str, TopicLag]:
    """Of each topic the row of the subscription that is furthest behind."""
    worst: dict[str, TopicLag] = {}
    for row in rows:
        known = worst.get(row.topic)
        if known is None or row.oldest_age_s > known.oldest_age_s:
            worst[row.topic] = row
    return worst
