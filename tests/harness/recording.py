"""What a run left behind, read for a proof: frames by the independent reader, events decoded.

And what its simulated venue says it sent: the sent-log, the fault ledger. It judges nothing.
"""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.reference.raw_log import Record, read_log
from tickd.events import EVENT, PRICE_UNDEF, SEQ_INDEX_BITS, BookState, GapCause, as_array
from tickd.native import Decoder, RawLogReader
from tickd.topics import CHANNELS

HTTP_TIMEOUT_S = 10


class Gap(NamedTuple):
    """A GAP event; `first`, `last` and `missing` are None where the ids say nothing."""

    symbol: str
    channel: str
    cause: str
    first: int | None
    last: int | None
    missing: int | None
    start_ns: int
    end_ns: int


class Sent(NamedTuple):
    """A line of the sent-log."""

    connection: int
    stream: str
    payload: bytes


@dataclass
class Recording:
    """A raw log, read once: its records in order, its events by topic."""

    records: list[Record]
    topics: dict[str, np.ndarray]
    counters: dict[str, int]

    def market_frames(self) -> dict[int, list[bytes]]:
        """Per connection, the stream messages as received; acknowledgements are not among them."""
        frames: dict[int, list[bytes]] = defaultdict(list)
        for record in self.records:
            if record.kind == "W" and record.payload.startswith(b'{"stream"'):
                frames[record.connection].append(record.payload)
        return dict(frames)

    def events(self, channel: str, symbol: str) -> np.ndarray:
        for topic, events in self.topics.items():
            name, _, rest = topic.partition(".")
            if name == channel and rest.split(".", 1)[1] == symbol:
                return events
        return np.empty(0, EVENT)

    def trade_ids(self, symbol: str) -> list[int]:
        return [int(number) for number in self.events("trade", symbol)["id"]]

    def lost_trade_ids(self, symbol: str) -> list[int]:
        """Ids between the first and the last recorded trade that are not in the raw log."""
        seen = self.trade_ids(symbol)
        return sorted(set(range(min(seen), max(seen) + 1)) - set(seen))

    def gap_trade_ids(self, symbol: str) -> list[int]:
        """Trade ids that the gap events name; late arrivals may have filled some."""
        return sorted(
            number
            for gap in self.gaps()
            if gap.symbol == symbol and gap.channel == "trade" and gap.first is not None
            for number in range(gap.first, (gap.last or 0) + 1)
        )

    def gaps(self) -> list[Gap]:
        return sorted(self._gaps(), key=lambda gap: (gap.symbol, gap.channel, gap.end_ns))

    def _gaps(self) -> Iterator[Gap]:
        for topic, events in self.topics.items():
            if topic.startswith("gap."):
                for event in events:
                    yield _gap(topic.split(".", 2)[2], event)

    def book_states(self, symbol: str) -> list[str]:
        """The states of a book up to the daemon's own stop, which ends it like any disconnect."""
        stopped = next((r.frame_no for r in self.records if _is_stop(r)), 1 << 47)
        states = self.events("book_state", symbol)
        states = states[states["seq"] >> np.uint64(SEQ_INDEX_BITS) < stopped]
        return [BookState(int(aux)).name for aux in states["aux"]]


def _is_stop(record: Record) -> bool:
    if record.kind != "C":
        return False
    said = json.loads(record.payload)
    return bool(said["kind"] == "disconnect" and said["reason"] == "session stopped")


def _gap(symbol: str, event: np.void) -> Gap:
    def known(value: Any) -> int | None:
        return None if int(value) == PRICE_UNDEF else int(value)

    aux, last = int(event["aux"]), known(event["price"])
    return Gap(
        symbol=symbol,
        channel=CHANNELS[aux >> 8],
        cause=GapCause(aux & 0xFF).name,
        first=None if last is None else int(event["id"]),
        last=last,
        missing=known(event["size"]),
        start_ns=int(event["ts_event"]),
        end_ns=int(event["ts_recv"]),
    )


def recording_of(state_dir: Path) -> Recording:
    """Read the raw log of a stopped daemon."""
    decoder = Decoder()
    parts: dict[int, list[np.ndarray]] = defaultdict(list)
    for _, chunk in RawLogReader(str(state_dir / "raw")):
        batch = decoder.decode(chunk)
        events = as_array(batch)
        for topic, start, stop in batch.topics:
            parts[topic].append(events[start:stop])
    topics = {decoder.topic_name(topic): np.concatenate(runs) for topic, runs in parts.items()}
    return Recording(read_log(state_dir / "raw"), topics, decoder.counters())


def sent_by(path: Path) -> list[Sent]:
    """The sent-log: what the venue handed to its sockets, in order."""
    lines = path.read_bytes().splitlines()
    parts = [line.split(b" ", 2) for line in lines]
    return [Sent(int(part[0]), part[1].decode(), part[2]) for part in parts if len(part) == 3]


def sent_frames(sent: list[Sent]) -> dict[int, list[bytes]]:
    """Per connection of the venue, what it was sent."""
    frames: dict[int, list[bytes]] = defaultdict(list)
    for line in sent:
        frames[line.connection].append(line.payload)
    return dict(frames)


def order_fault(rest_url: str, **fields: object) -> None:
    """Order a fault of a simulated venue, to be done at once."""
    body = json.dumps(fields).encode()
    request = urllib.request.Request(f"{rest_url}/_fault", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as reply:
        assert json.load(reply) == {"ok": True}


def ledger_of(rest_url: str) -> dict[str, Any]:
    """What the simulated venue did on order: `messages` by market, `connections`."""
    with urllib.request.urlopen(f"{rest_url}/_ledger", timeout=HTTP_TIMEOUT_S) as reply:
        ledger: dict[str, Any] = json.load(reply)
    return ledger


def venue_stats(rest_url: str) -> dict[str, Any]:
    """What the simulated venue made and sent so far."""
    with urllib.request.urlopen(f"{rest_url}/_stats", timeout=HTTP_TIMEOUT_S) as reply:
        stats: dict[str, Any] = json.load(reply)
    return stats
