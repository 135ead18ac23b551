"""Replays: the same events give the same decisions, from a capture, a raw log or live batches."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from backtest.live_runs import LiveRun, live_runs
from backtest.run import Replayed, replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from strategy_runner.errors import StrategyError
from strategy_runner.image import pieces
from strategy_runner.runner import StrategyHost
from strategy_runner.strategy import Strategy
from strategy_runner.timers import Timer
from tests.harness.market_lines import START_NS, SYMBOL, lines, write_capture
from tickd.clock import SystemClock
from tickd.errors import ConfigError
from tickd.events import Kind, as_array
from tickd.native import Decoder, EventBatch, L2Book, Quote, RawLog, Trade
from tickd.testing.clock import ManualClock

MESSAGES = 3_000
SECOND_NS = 1_000_000_000
SOURCE = '''
from strategy_runner.strategy import Strategy


class Everything(Strategy):
    """Decides on every callback, from everything it can see."""

    def on_start(self):
        self.seen = set()
        self.context.call_every(1_000_000_000, "second")

    def on_trade(self, trade):
        self.seen.add(f"{trade.side}{trade.price % 7}")
        quote = self.context.last.quote(trade.instrument)
        mid = None if quote is None else (quote.bid_price + quote.ask_price) / 2
        self.context.decide("trade", price=trade.price, size=trade.size_f, mid=mid)

    def on_quote(self, quote):
        if quote.bid_size > 2_500:
            self.context.submit(quote.instrument, side="B", size=1, price=quote.bid_price)

    def on_book(self, book):
        self.context.decide("book", top=book.top(3), total=book.total("B"), id=book.last_id)

    def on_timer(self, timer):
        self.context.decide(timer.name, now=self.context.now_ns, seen=sorted(self.seen))
'''


@pytest.fixture
def everything(tmp_path: Path) -> StrategyConfig:
    (tmp_path / "everything.py").write_text(SOURCE)
    return StrategyConfig(name="everything", class_=f"{tmp_path}/everything.py:Everything")


def run(path: Path, config: StrategyConfig, burst_frames: int | None = None) -> list[bytes]:
    decisions: list[bytes] = []
    result = replay(
        source_of(path, burst_frames), [config], clock=SystemClock(), on_decision=decisions.append
    )
    strategy = result.strategies["everything"]
    assert (strategy["failures"], strategy["decisions"]) == (0, len(decisions))
    return decisions


def test_a_capture_decides_the_same_in_every_run_and_cut(
    everything: StrategyConfig, tmp_path: Path
) -> None:
    capture = write_capture(tmp_path / "capture", 5, MESSAGES)
    first = run(capture, everything)
    kinds = [json.loads(line)["kind"] for line in first]
    assert kinds.count("intent") > 100
    for burst_frames in (None, 1, 64, 4096):
        assert run(capture, everything, burst_frames) == first
    assert run(write_capture(tmp_path / "other", 6, MESSAGES), everything) != first


def test_the_clock_of_a_capture_ticks_on_its_grid_in_front_of_what_came_later(
    tmp_path: Path, everything: StrategyConfig
) -> None:
    capture = write_capture(tmp_path / "capture", 5, MESSAGES)
    seen: list[tuple[int, int]] = []

    def note(batch: EventBatch) -> None:
        events = as_array(batch)
        seen.extend(zip(events["seq"].tolist(), events["ts_recv"].tolist(), strict=True))
        ticks = events[events["kind"] == Kind.CLOCK]
        assert (ticks["ts_recv"] % 100_000_000 == 0).all()
        assert (ticks["ts_event"] == ticks["ts_recv"]).all()
        clocks.extend(ticks["ts_recv"].tolist())

    clocks: list[int] = []
    replay(source_of(capture, 64), [everything], clock=SystemClock(), on_batch=note)
    times = [recv_ns for _, recv_ns in sorted(seen)]
    assert times == sorted(times)
    last_ns = max(recv_ns for recv_ns, _ in lines(5, MESSAGES))
    assert clocks == list(range(START_NS + 100_000_000, last_ns + 1, 100_000_000))


def record(
    directory: Path,
    feed: Callable[[RawLog, Decoder, EventBatch], None],
    received: Callable[[int], int] = lambda recv_ns: recv_ns,
) -> None:
    """A daemon's raw log of the market, clock records included; every burst is fed as it comes."""
    log, decoder = RawLog(str(directory), node=1, segment_bytes_max=150_000), Decoder()
    log.restore_decoder(decoder)
    definition = {"kind": "instrument", "venue": "binance-usdm", "symbol": SYMBOL, "lot": 1}
    definition |= {"asset_class": "perpetual", "price_scale": 1, "size_scale": 3, "tick": 1}
    log.record(0, "C", json.dumps({**definition, "multiplier": "1"}).encode())
    connect = {"kind": "connect", "connection": 1, "venue": "binance-usdm", "url": ""}
    log.record(1, "C", json.dumps({**connect, "streams": []}).encode())
    for number, (recv_ns, payload) in enumerate(lines(5, MESSAGES)):
        if payload.startswith(b'{"stream"'):
            log.frame_at(1, payload, received(recv_ns), recv_ns)
        else:
            head = f"GET /fapi/v1/depth?symbol={SYMBOL}&limit=1000 200\n".encode()
            log.record(1, "R", head + payload)
        if number % 50 == 0:
            log.record(0, "C", b'{"kind":"clock"}')
        if number % 7 == 0:
            batch = log.end_burst(decoder)
            if batch is not None:
                feed(log, decoder, batch)
    batch = log.end_burst(decoder)
    if batch is not None:
        feed(log, decoder, batch)
    log.close()


@pytest.mark.parametrize("burst_frames", [None, 1, 64, 4096])
def test_a_replay_of_a_raw_log_decides_what_was_decided_live(
    everything: StrategyConfig, tmp_path: Path, burst_frames: int | None
) -> None:
    live: list[bytes] = []
    stopped: list[tuple[str, str]] = []
    host = StrategyHost(
        [everything],
        record=lambda _line: None,
        clock=ManualClock(),
        state_dir=None,
        on_stopped=lambda name, reason: stopped.append((name, reason)),
        on_decision=live.append,
    )
    host.start()

    def feed(_log: RawLog, decoder: Decoder, batch: EventBatch) -> None:
        for number, definition in decoder.instruments():
            host.define(number, definition)
        host.feed(batch)

    record(tmp_path / "raw", feed)
    host.stop("the daemon stops")
    assert stopped == [("everything", "the daemon stops")]
    assert len(live) > 1_000
    assert run(tmp_path, everything, burst_frames) == live


class Counting(Strategy):
    def on_start(self) -> None:
        self.counts = dict.fromkeys(("trade", "quote", "book", "timer"), 0)
        self.context.call_every(SECOND_NS)
        assert self.context.instrument(SYMBOL).price_scale == 1

    def on_trade(self, _trade: Trade) -> None:
        self.counts["trade"] += 1

    def on_quote(self, _quote: Quote) -> None:
        self.counts["quote"] += 1

    def on_book(self, _book: L2Book) -> None:
        self.counts["book"] += 1

    def on_timer(self, _timer: Timer) -> None:
        self.counts["timer"] += 1

    def on_stop(self) -> None:
        self.context.decide("counts", **self.counts)


def test_every_message_of_a_capture_reaches_its_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = write_capture(tmp_path / "capture", 9, MESSAGES)
    counted = ModuleType("counted")
    monkeypatch.setitem(sys.modules, "counted", counted)
    monkeypatch.setattr(counted, "Counting", Counting, raising=False)
    said: list[bytes] = []
    result: Replayed = replay(
        source_of(capture),
        [StrategyConfig(name="counting", class_="counted:Counting")],
        clock=SystemClock(),
        on_decision=said.append,
    )
    counts = json.loads(said[0])["fields"]
    payloads = [payload for _, payload in lines(9, MESSAGES)]
    times = [recv_ns for recv_ns, _ in lines(9, MESSAGES)]
    before = next(at for at, each in enumerate(payloads) if b"lastUpdateId" in each)
    diffs = sum(b"depthUpdate" in payload for payload in payloads[before:])
    assert counts == {
        "trade": sum(b'"trade"' in payload for payload in payloads),
        "quote": sum(b"bookTicker" in payload for payload in payloads),
        # The snapshot, with what came before it, and every change behind it.
        "book": diffs + 1,
        "timer": times[-1] // SECOND_NS - times[0] // SECOND_NS,
    }
    assert result.events > MESSAGES


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no raw log at"):
        source_of(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ConfigError, match="no recorded messages"):
        source_of(tmp_path / "empty")


LIVES = 3


def record_lives(directory: Path, config: StrategyConfig, keeps: Path) -> list[list[bytes]]:
    """A raw log on which a strategy ran three times, as a daemon records it; what each decided."""
    lives: list[list[bytes]] = []
    hosts: list[StrategyHost] = []
    known: dict[int, bytes] = {}
    batches = 0

    def note(log: RawLog, fields: dict[str, object]) -> None:
        log.record(0, "C", json.dumps(fields).encode())

    def begin(log: RawLog, seq: int) -> None:
        note(log, {"kind": "strategy", "name": config.name, "state": "started", "seq": seq})
        lives.append([])
        host = StrategyHost(
            [config],
            record=lambda line: note(log, json.loads(line)),
            clock=ManualClock(),
            state_dir=keeps,
            on_stopped=lambda _name, _reason: None,
            on_decision=lives[-1].append,
        )
        for number, definition in known.items():
            host.define(number, definition)
        host.start()
        hosts.append(host)

    def feed(log: RawLog, decoder: Decoder, batch: EventBatch) -> None:
        nonlocal batches
        known.update(decoder.instruments())
        batches += 1
        if batches % 100 == 1 and len(lives) < LIVES:
            begin(log, batch.seq_first - 1)
        hosts[-1].feed(batch)
        if batches % 100 == 80 and hosts[-1].running:
            hosts[-1].stop("ordered")
            stopped = {"kind": "strategy", "name": config.name, "state": "stopped"}
            note(log, {**stopped, "seq": batch.seq_last})

    record(directory, feed)
    return lives


def test_the_last_run_on_a_log_is_repeated_from_what_it_began_with(
    everything: StrategyConfig, tmp_path: Path
) -> None:
    lives = record_lives(tmp_path / "raw", everything, tmp_path)
    assert len(lives) == LIVES
    assert lives[2][0] != lives[0][0]
    runs = live_runs(tmp_path)
    (run,) = runs.values()
    assert (run.decisions, run.missed) == (len(lives[2]), 0)
    assert run.orders_reserved == 2 * (1 << 16)
    for burst_frames in (None, 1, 64, 4096):
        again: list[bytes] = []
        result = replay(
            source_of(tmp_path, burst_frames, run.cuts),
            [everything],
            clock=SystemClock(),
            runs=runs,
            on_decision=again.append,
        )
        assert again == lives[2]
        assert result.strategies["everything"]["hash"] == run.hash


def test_an_image_that_was_not_recorded_to_its_end_began_no_run() -> None:
    parts = pieces(bytes(200_000) + Random(1).randbytes(100_000))
    assert len(parts) > 1
    run = LiveRun("mine")
    assert run.image is None
    run.warm_parts = len(parts)
    for number, part in enumerate(parts, 1):
        run.warm.append(part)
        assert (run.image is not None) == (number == len(parts))
    run.warm[0] = "A" + run.warm[0][1:]
    with pytest.raises(StrategyError, match="damaged"):
        assert run.image


def test_what_a_feed_dropped_is_dropped_again(everything: StrategyConfig, tmp_path: Path) -> None:
    record_lives(tmp_path / "raw", everything, tmp_path)
    runs = live_runs(tmp_path)
    (run,) = runs.values()
    seen: dict[int, str] = {}
    for part in source_of(tmp_path, None, run.cuts).parts():
        for topic, start, stop in part.batch.topics:
            for seq in as_array(part.batch)["seq"][start:stop].tolist():
                if seq > run.seq_from and seq <= (run.seq_to or 0):
                    seen[seq] = part.topic_name(topic)
    trades = [seq for seq, name in seen.items() if name.startswith("trade.")]
    assert len(trades) > 10
    name = seen[trades[3]]
    gone = [seq for seq in trades if seen[seq] == name]
    # A row as a `conflated` record has it; what it names does not reach the strategy.
    run.rows.append((name, "drop_oldest", gone[2], gone[5], 4, 0))
    kept: list[bytes] = []
    whole: list[bytes] = []
    for decided in (kept, whole):
        replay(
            source_of(tmp_path, None, run.cuts),
            [everything],
            clock=SystemClock(),
            runs=runs,
            on_decision=decided.append,
        )
        run.rows.clear()
    assert run.missed == 0
    assert kept != whole
    missing = {f'"seq":{seq}' for seq in gone[2:6]}
    assert any(words.encode() in line for line in whole for words in missing)
    assert not any(f"{words},".encode() in line for line in kept for words in missing)
