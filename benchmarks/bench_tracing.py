"""Tracing of batches: what it costs on the way of 150,000 events/s, off, at 1 % and at 100 %.

The way is the daemon's own: frames into the tap, raw log, decoder, bus, one consumer; in bursts of
one millisecond of that rate. Compared are the CPU of the whole process, the exporter's thread with
protobuf and requests among it: "before" is the tap as it was without the place for tracing, "off"
the one that ships. A collector in a process of its own takes the spans over loopback. Played as
fast as it goes: rates do not matter, only the work per burst; ClickHouse and strategies are left
out, so a daemon's shares are smaller than these.

Run: python benchmarks/bench_tracing.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import harness
import messages
from harness import Cost, Figure

from tickd.app.tap import Tap
from tickd.app.trace_export import TraceExporter
from tickd.app.tracing import Progress, Tracing
from tickd.app.tracing_config import TracingConfig
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLog

EVENTS_PER_S = 150_000
# Of this many events a burst at that rate and a turn of the loop per millisecond.
BURST_EVENTS = EVENTS_PER_S // 1_000
BURSTS = 5_000  # five seconds
STEP_BURSTS = 250  # `Tracing.run` looks every quarter of a second
RATIOS = {"off": None, "one_percent": 0.01, "all": 1.0}
# A collector that reads requests and says yes.
COLLECTOR = """
import http.server
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""


class TapBefore(Tap):
    """The tap without the two attributes that tracing may take."""

    def _end_burst(self) -> None:
        self._armed = False
        if self._closed:
            return
        self.bursts_total += 1
        batch = self._raw.end_burst(self._decoder)
        if self._definitions_due:
            self._tell_definitions()
        if batch is not None:
            self._publish(batch)
            taken_ns = self._clock.mono_ns() - batch.ts_mono_ns
            self.publish_latency.record(taken_ns, len(batch))
            self.topic_latency.record(batch, taken_ns)
        for _ in self._decoder.take_notices():
            pass
        if not self.paused and self._raw.full:
            self._pause()


class _Leg:
    def on_notice(self, notice: object) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@contextmanager
def collector() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        finally:
            child.terminate()


def traced(tap: Tap, raw: RawLog, decoder: Decoder, ratio: float, endpoint: str) -> Tracing:
    config = TracingConfig(
        enabled=True, ratio=ratio, slow_ms=60_000.0, endpoint=endpoint, queue_spans_max=1 << 20
    )
    exporter = TraceExporter(config, node=1)
    tracing = Tracing(
        config,
        node=1,
        clock=SystemClock(),
        topic_name=decoder.topic_name,
        progress=Progress(lambda: raw.written, lambda: raw.synced, lambda: raw.written),
        export=exporter.offer,
    )
    tap.trace_with(tracing.decoding)
    tap.on_watermark(tracing.log_moved)
    exporter.start()
    tap.stop_exporter = exporter.stop  # type: ignore[attr-defined]
    return tracing


def play(kind: type[Tap], ratio: float | None, endpoint: str, lines: list[bytes]) -> Cost:
    """Five seconds of market; returns CPU per burst."""

    async def main() -> Cost:
        clock, decoder, seen = SystemClock(), Decoder(), 0

        def take(batch: EventBatch) -> None:
            nonlocal seen
            seen += len(batch)

        with tempfile.TemporaryDirectory() as directory:
            raw = RawLog(directory, node=1)
            raw.restore_decoder(decoder)
            bus = Bus(decoder.topic_name, clock)
            bus.handle_bursts(take, name="consumer")
            tap = kind(raw, decoder, bus, clock=clock)
            tracing = None if ratio is None else traced(tap, raw, decoder, ratio, endpoint)
            tap.record(0, "C", messages.INSTRUMENT)
            connection = tap.open(
                venue="binance-usdm", url="ws://127.0.0.1", streams=["x"], leg=_Leg()
            )
            await asyncio.sleep(0)
            before = time.process_time_ns()
            at = 0
            for burst in range(BURSTS):
                for line in lines[at : at + BURST_FRAMES]:
                    tap.frame(connection, line)
                at = (at + BURST_FRAMES) % (len(lines) - BURST_FRAMES)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if tracing is not None and burst % STEP_BURSTS == STEP_BURSTS - 1:
                    tracing.step(every=True)
            if tracing is not None:
                tap.stop_exporter()  # type: ignore[attr-defined]
            spent = time.process_time_ns() - before
            if tracing is not None:
                made = sum(tracing.made.values())
                assert made >= BURSTS * (ratio or 0) * 0.5, f"{made} traces at {ratio}"
                assert not tracing.dropped, tracing.dropped
            tap.finish()
            tap.detach()
            raw.close()
        assert seen > BURSTS, "nothing was decoded"
        return Cost(spent, BURSTS)

    return asyncio.run(main())


# 66,400 messages of the USD-M mix are 150,000 events.
BURST_FRAMES = 66


def figures(rounds: int) -> list[Figure]:
    lines = messages.simulated().lines
    with collector() as endpoint:
        cases: dict[str, harness.Case] = {"before": lambda: play(TapBefore, None, endpoint, lines)}
        for name, ratio in RATIOS.items():
            cases[name] = lambda ratio=ratio: play(Tap, ratio, endpoint, lines)
        best = harness.least(cases, rounds)
    found = []
    for name, text in (
        ("before", "tap without any place for tracing"),
        ("off", "tracing off"),
        ("one_percent", "1 % of the batches"),
        ("all", "every batch"),
    ):
        share = best[name] / best["off"]
        found.append(
            Figure(f"tracing.{name}.ratio", share, "x", f"CPU of the way in: {text}, against off")
        )
        found.append(Figure(f"tracing.{name}.us", best[name] / 1e3, "us", f"per burst: {text}"))
    extra = (best["one_percent"] - best["off"]) * 1_000 / 1e9 * 100
    found.append(
        Figure("tracing.one_percent.core", extra, "%", "of a core for 1 %, 1,000 bursts/s")
    )
    extra = (best["all"] - best["off"]) * 1_000 / 1e9 * 100
    found.append(Figure("tracing.all.core", extra, "%", "of a core for all, 1,000 bursts/s"))
    return found


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
