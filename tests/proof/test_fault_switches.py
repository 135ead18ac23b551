"""Every fault of the simulated venue that touches messages, against a real daemon.

One run: each fault is done to one stream of a symbol of its own, and the venue's ledger tells to
which ids. What the daemon says is missing must be exactly that, everything else must be there.
Faults of connections: test_connection_faults.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness.processes import Daemon, query, server, tickd, venue_of, write_config
from tests.harness.recording import (
    Gap,
    Recording,
    ledger_of,
    order_fault,
    recording_of,
    sent_by,
    sent_frames,
)
from tickd.events import Flag

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(120)]

COUNT = 3  # messages that a fault touches
SKEW_MS = 5_000
STREAMS = {"trade": "trade", "quote": "bookTicker", "depth": "depth@0ms"}
KINDS = ("gap", "duplicate", "reorder", "truncated", "non_utf8", "oversized", "skew")
CASES = [(kind, channel) for kind in KINDS for channel in STREAMS]
SPARE_SYMBOLS = 3  # that nothing is done to
REFUSED = ("truncated", "non_utf8")
ARGUMENTS = {"skew": SKEW_MS, "oversized": 200_000}


@dataclass(frozen=True)
class Run:
    """What a run gave: recording, the faults by symbol, the sent-log, the daemon's last words."""

    recording: Recording
    faults: dict[tuple[str, str], dict[str, Any]]
    symbols: dict[tuple[str, str], str]
    quiet: list[str]
    sent: dict[int, list[bytes]]
    status: dict[str, Any]
    config: Path

    def case(self, kind: str, channel: str) -> tuple[dict[str, Any], str, list[Gap]]:
        """Ledger entry, symbol, and the gaps of that symbol."""
        symbol = self.symbols[kind, channel]
        gaps = [gap for gap in self.recording.gaps() if gap.symbol == symbol]
        return self.faults[kind, channel], symbol, gaps


def _settled(status: dict[str, Any]) -> bool:
    (venue,) = status["venues"]
    return bool(status["raw_log"]["frames"] > 10_000 and not venue["snapshots_pending"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("faults")
    sent_log = folder / "sent.log"
    arguments = ["sim", "--rate", "6000", "--symbols", str(len(CASES) + SPARE_SYMBOLS)]
    arguments += ["--seed", "11", "--seconds", "9", "--sent-log", str(sent_log)]
    with server(*arguments, log=folder / "sim.log") as sim:
        names: list[str] = sim["symbols"]["binance-usdm"]
        symbols = dict(zip(CASES, names, strict=False))
        config = write_config(folder / "tickd.toml", state_dir=folder / "s", venues=[venue_of(sim)])
        rest_url = sim["rest"]["binance-usdm"]
        with Daemon(config, folder / "daemon.log") as daemon:
            daemon.wait_for(_settled)
            for (kind, channel), symbol in symbols.items():
                order_fault(
                    rest_url,
                    kind=kind,
                    symbol=symbol,
                    channel=STREAMS[channel],
                    count=COUNT,
                    argument=ARGUMENTS.get(kind, 0),
                )
            status = daemon.wait_until_quiet(frames_min=20_000)
            entries = ledger_of(rest_url)["messages"]["usdm"]
            assert daemon.stop() == 0, daemon.tail()
    by_stream = {(entry["kind"], entry["stream"]): entry for entry in entries}
    faults = {
        case: by_stream[case[0], f"{symbol.lower()}@{STREAMS[case[1]]}"]
        for case, symbol in symbols.items()
    }
    return Run(
        recording=recording_of(folder / "s"),
        faults=faults,
        symbols=symbols,
        quiet=names[len(CASES) :],
        sent=sent_frames(sent_by(sent_log)),
        status=status,
        config=config,
    )


def test_the_venue_did_all_that_was_ordered(run: Run) -> None:
    undone = [entry for entry in run.faults.values() if not entry["done"]]
    assert not undone
    assert {len(entry["ids"]) for entry in run.faults.values()} == {COUNT}


def test_every_byte_sent_is_in_the_raw_log_and_nothing_else(run: Run) -> None:
    """Damaged messages too; per connection, in order."""
    assert sorted(run.recording.market_frames().values()) == sorted(run.sent.values())
    assert sum(map(len, run.sent.values())) > 20_000


def test_the_gap_ledger_is_what_was_injected(run: Run) -> None:
    expected = Counter(
        (run.symbols[kind, channel], channel, "SEQUENCE")
        for kind, channel in CASES
        if channel != "quote" and kind in ("gap", "reorder", *REFUSED)
    )
    found = Counter((gap.symbol, gap.channel, gap.cause) for gap in run.recording.gaps())
    assert found == expected


def test_refusals_are_counted_and_name_their_frames(run: Run) -> None:
    damaged = COUNT * len(REFUSED) * len(STREAMS)
    assert run.status["decoder"]["refused"] == damaged, run.status["decoder"]
    assert run.recording.counters["refused"] == damaged
    log = (run.config.parent / "daemon.log").read_text()
    assert "frame_refused" in log


@pytest.mark.parametrize("kind", ["gap", *REFUSED])
def test_lost_trades_are_a_gap_with_exactly_their_ids(run: Run, kind: str) -> None:
    entry, symbol, gaps = run.case(kind, "trade")
    lost = [first for first, _ in entry["ids"]]
    (gap,) = gaps
    assert (gap.first, gap.last, gap.missing) == (lost[0], lost[-1], COUNT)
    seen = run.recording.trade_ids(symbol)
    whole = range(seen[0], seen[-1] + 1)
    assert seen == [number for number in whole if number not in lost]


def test_reordered_trades_are_a_gap_that_the_late_ones_fill(run: Run) -> None:
    entry, symbol, (gap,) = run.case("reorder", "trade")
    ids = [first for first, _ in entry["ids"]]
    assert (gap.first, gap.last, gap.missing) == (ids[0], ids[-2], COUNT - 1)
    seen = run.recording.trade_ids(symbol)
    at = seen.index(ids[-1])
    assert seen[at : at + COUNT] == ids[::-1]
    assert sorted(seen) == list(range(min(seen), max(seen) + 1))


def test_trades_said_twice_on_one_connection_are_kept_twice(run: Run) -> None:
    entry, symbol, gaps = run.case("duplicate", "trade")
    counts = Counter(run.recording.trade_ids(symbol))
    assert gaps == []
    assert {number for number, count in counts.items() if count != 1} == {
        first for first, _ in entry["ids"]
    }
    assert max(counts.values()) == 2


@pytest.mark.parametrize("kind", ["gap", "reorder", *REFUSED])
def test_a_broken_depth_chain_is_a_gap_and_the_book_synchronises_again(run: Run, kind: str) -> None:
    entry, symbol, (gap,) = run.case(kind, "depth")
    ids = entry["ids"]
    heads = _heads(run.recording, symbol)
    lost = ids[:-1] if kind == "reorder" else ids
    before = max(last for last in heads["id"] if last < lost[0][0])
    assert (gap.first, gap.last) == (before + 1, lost[-1][1])
    states = run.recording.book_states(symbol)
    assert states.count("GAP") == 1
    assert states[-1] == "SYNCED"


@pytest.mark.parametrize("kind", ["duplicate", "oversized", "skew"])
def test_a_harmless_depth_message_leaves_the_book_synchronised(run: Run, kind: str) -> None:
    entry, symbol, gaps = run.case(kind, "depth")
    states = run.recording.book_states(symbol)
    assert gaps == []
    assert states[-1] == "SYNCED"
    assert states.count("SYNCED") == 1
    seen = Counter(map(int, _heads(run.recording, symbol)["id"]))
    assert {seen[last] for _, last in entry["ids"]} == {2 if kind == "duplicate" else 1}


@pytest.mark.parametrize(
    ("kind", "times"), [("gap", 0), ("truncated", 0), ("non_utf8", 0), ("duplicate", 2)]
)
def test_quotes_have_no_gapless_ids_and_so_no_gap(run: Run, kind: str, times: int) -> None:
    """Update ids jump: what is missing cannot be known, and what came is all there."""
    entry, symbol, gaps = run.case(kind, "quote")
    bids = run.recording.events("quote", symbol)
    counts = Counter(map(int, bids["id"][bids["side"] == ord("B")]))
    assert gaps == []
    assert {counts[number] for number, _ in entry["ids"]} == {times}


def test_reordered_quotes_are_kept_in_the_order_of_arrival(run: Run) -> None:
    entry, symbol, gaps = run.case("reorder", "quote")
    bids = run.recording.events("quote", symbol)
    ids = [int(number) for number in bids["id"][bids["side"] == ord("B")]]
    reversed_ids = [number for number, _ in entry["ids"]][::-1]
    at = ids.index(reversed_ids[0])
    assert gaps == []
    assert ids[at : at + COUNT] == reversed_ids


@pytest.mark.parametrize("channel", STREAMS)
def test_oversized_messages_are_taken_like_any_other(run: Run, channel: str) -> None:
    entry, symbol, gaps = run.case("oversized", channel)
    stream = f"{symbol.lower()}@{STREAMS[channel]}".encode()
    prefix = b'{"stream":"%s"' % stream
    large = [
        payload
        for frames in run.recording.market_frames().values()
        for payload in frames
        if payload.startswith(prefix) and len(payload) > ARGUMENTS["oversized"]
    ]
    events = run.recording.events(channel, symbol)["id"]
    assert gaps == []
    assert len(large) == COUNT
    assert all(last in events for _, last in entry["ids"])


@pytest.mark.parametrize("channel", STREAMS)
def test_skewed_messages_are_flagged_and_no_others(run: Run, channel: str) -> None:
    entry, symbol, gaps = run.case("skew", channel)
    events = run.recording.events(channel, symbol)
    events = events[events["flags"] & Flag.SNAPSHOT == 0]
    flagged = (events["flags"] & Flag.SKEW) != 0
    ahead_ms = (events["ts_event"][flagged] - events["ts_recv"][flagged]) / 1e6
    assert gaps == []
    assert sorted(set(map(int, events["id"][flagged]))) == [last for _, last in entry["ids"]]
    assert np.all(ahead_ms > SKEW_MS - 1_000), ahead_ms
    assert np.all(ahead_ms <= SKEW_MS), ahead_ms


def test_symbols_without_a_fault_lost_nothing(run: Run) -> None:
    for symbol in run.quiet:
        ids = run.recording.trade_ids(symbol)
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert run.recording.book_states(symbol)[-1] == "SYNCED"
        heads = _heads(run.recording, symbol)
        assert np.array_equal(heads["size"][1:], heads["id"][:-1].astype(np.int64))


def test_clickhouse_holds_the_same_gaps_and_verify_is_clean(run: Run) -> None:
    rows = query(
        run.config,
        "SELECT from_id, to_id, missing FROM gaps WHERE NOT bitTest(flags, 10) ORDER BY seq",
    )
    found = Counter((int(row["from_id"]), int(row["to_id"])) for row in rows)
    assert found == Counter((gap.first, gap.last) for gap in run.recording.gaps())
    verified = tickd("verify", str(run.config))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _heads(recording: Recording, symbol: str) -> np.ndarray:
    """The heads of the depth messages that came in the stream."""
    events = recording.events("depth", symbol)
    heads = events[events["kind"] == 3]
    return heads[heads["flags"] & Flag.SNAPSHOT == 0]
