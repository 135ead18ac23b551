"""The daemon's answers to `tickd top`: a page of bounded size, drawn in steps that are short.

Between two steps the event loop runs: with thousands of topics none of them holds it for longer
than a burst does. It reads what others count and changes nothing; rates are the differences of
readings that are a second apart, shared by everybody who watches.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from gateway.venue import OpenGap
from tickd.app.control import Command
from tickd.app.filling import gap_head
from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.bus_queue import AnySubscription
from tickd.events import GapCause
from tickd.topics import Topic

__all__ = ["ROWS_MAX", "SORTS", "Top"]

NS_PER_S: Final = 1_000_000_000
ROWS_MAX: Final = 200
# Things looked at before the loop has its turn; 0.1 ms of work, about.
STEP: Final = 128
# A rate is of this time and less than ten times of it; older readings say nothing about now.
RATE_NS: Final = NS_PER_S
RATE_AGE_NS_MAX: Final = 10 * NS_PER_S
FILTER_CHARACTERS_MAX: Final = 64
SORTS: Final = ("rate", "events", "lag", "depth", "dropped", "silent", "p99", "topic")

T = TypeVar("T")


@dataclass(slots=True)
class _Behind:
    """Of a topic, its slowest subscription."""

    depth: int = 0
    high_water: int = 0
    age_ns: int = 0
    dropped: int = 0


class _Row(NamedTuple):
    number: int
    events: int
    mono_ns: int


class Top:
    """Answers one page at a time; loop thread only."""

    def __init__(self, parts: Parts, picture: Picture) -> None:
        self._parts = parts
        self._picture = picture
        self._names: list[str] = []  # by topic number
        self._turn = asyncio.Lock()  # two pages at once would be two steps in a row
        # Readings of every topic's events: (mono_ns, events by number).
        self._before: tuple[int, dict[int, int]] = (0, {})
        self._newest: tuple[int, dict[int, int]] = (0, {})

    def commands(self) -> dict[str, Command]:
        """The control command, by name."""
        return {"top": self.answer}

    async def answer(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The control command `top`: the head, and the rows of one `page`.

        Args of the request: `page`: topics, topic, gaps, strategies, risk; `sort`: one of `SORTS`;
        `filter`: part of a topic's name; `rows`: at most, 200; `topic`: of the page topic.
        """
        pages: dict[str, Callable[[Mapping[str, object]], Awaitable[dict[str, Any]]]] = {
            "topic": self._topic,
            "gaps": self._gaps,
            "strategies": self._strategies,
            "risk": self._risk,
        }
        page = str(request.get("page", "topics"))
        async with self._turn:
            head = await self._head()
            body = await pages.get(page, self._topics)(request)
        return {"page": page if page in pages else "topics", **head, **body}

    async def _head(self) -> dict[str, Any]:
        parts, picture = self._parts, self._picture
        head: dict[str, Any] = {
            "node": parts.config.node.id,
            "state": picture.state(),
            "waiting_for": picture.waiting_for(),
            "uptime_s": picture.uptime_s,
            "wall_ns": parts.clock.wall_ns(),
            "topics_count": parts.decoder.topic_count,
            "decoder": parts.decoder.counters(),
        }
        await _breathe()
        raw = picture.raw_log()
        head["raw_log"] = {
            name: raw[name]
            for name in ("frames", "compressed_bytes", "pending_bytes", "paused", "fault")
        } | {name: raw[name] for name in ("write_p99_ms", "fsync_p99_ms")}
        head["loop_lag_p99_ms"] = parts.loop_lag.quantile(0.99) / 1e6
        head["lag_s"] = parts.planning.lag_s
        await _breathe()
        delivery = parts.storage.sink.delivery
        head["sink"] = {
            "state": parts.storage.sink.state.value,
            "rows_committed": delivery.counters.rows_committed,
            "pending_bytes": parts.storage.sink.held_bytes,
            "ack_p99_ms": delivery.ack_latency.quantile(0.99) / 1e6,
            "circuit": delivery.circuits.server.state.value,
            "spool_blocks": delivery.spool.figures.blocks,
        }
        risk = parts.halting.draw()
        head["halt"] = {"state": risk["state"], "reason": risk["reason"]}
        head["gaps_open"] = len(parts.filling.gaps())
        for session in parts.sessions:
            await _breathe()
            status = session.status()
            head.setdefault("venues", []).append(
                {
                    "venue": status.venue,
                    "lines": len(status.lines),
                    "streaming": sum(
                        line.state in ("streaming", "replacing") for line in status.lines
                    ),
                    "streams": status.streams_count,
                    "paused": status.streams_paused,
                    "fault": next((line.fault for line in status.lines if line.fault), None),
                }
            )
        await _breathe()
        return head

    async def _topics(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The first so many topics by what is asked for."""
        sort = str(request.get("sort", "rate"))
        sort = sort if sort in SORTS else "rate"
        text = str(request.get("filter", ""))[:FILTER_CHARACTERS_MAX].lower()
        stats = await self._read()
        behind = await self._behind()
        late = await self._p99() if sort == "p99" else {}
        rates = self._rates
        now_ns = self._parts.clock.mono_ns()
        names = self._names

        def value(row: _Row) -> Any:
            queue = behind.get(names[row.number])
            match sort:
                case "rate":
                    return rates(row)
                case "events":
                    return row.events
                case "silent":
                    return now_ns - row.mono_ns if row.mono_ns else 0
                case "p99":
                    return late.get(row.number, 0)
                case "lag":
                    return queue.age_ns if queue else 0
                case _:
                    return getattr(queue, sort) if queue else 0

        matching = (row for row in stats if not text or text in names[row.number].lower())
        rows = await (
            _largest(matching, lambda row: _Reversed(names[row.number]), _count(request))
            if sort == "topic"
            else _largest(matching, lambda row: (value(row), row.events), _count(request))
        )
        late = late or await self._p99()
        shown = [self._row(row, behind.get(names[row.number]), late, now_ns) for row in rows]
        return {"sort": sort, "rows": shown, "rates_known": bool(self._before[1])}

    def _row(
        self, row: _Row, queue: _Behind | None, late: Mapping[int, int], now_ns: int
    ) -> dict[str, Any]:
        queue = queue or _Behind()
        return {
            "topic": self._names[row.number],
            "events": row.events,
            "rate": self._rates(row),
            "silent_s": max(0, now_ns - row.mono_ns) / NS_PER_S if row.mono_ns else None,
            "bus_p99_ms": late.get(row.number, 0) / 1e6,
            "depth": queue.depth,
            "high_water": queue.high_water,
            "lag_s": queue.age_ns / NS_PER_S,
            "dropped": queue.dropped,
        }

    async def _topic(self, request: Mapping[str, object]) -> dict[str, Any]:
        """One topic: its row, every queue it lies in, its open gaps."""
        name = str(request.get("topic", ""))
        stats = await self._read()
        row = next((each for each in stats if self._names[each.number] == name), None)
        if row is None:
            return {"topic": None, "rows": []}
        now_ns = self._parts.clock.mono_ns()
        queues: list[dict[str, Any]] = []
        slowest = _Behind()
        for subscription in self._parts.bus.subscriptions:
            async for each in _lags(subscription):
                if each[0] != name:
                    continue
                age_ns = _age(each, now_ns)
                slowest = max(slowest, _behind(each, age_ns), key=lambda queue: queue.age_ns)
                queues.append(
                    {
                        "subscription": subscription.name,
                        "depth": each[1],
                        "high_water": each[2],
                        "lag_s": age_ns / NS_PER_S,
                        "dropped": each[4],
                        "events": each[5],
                    }
                )
        topic = Topic.parse(name)
        mine = (
            gap
            for gap in self._parts.filling.gaps()
            if (gap.channel, gap.venue, gap.symbol) == (topic.channel, topic.venue, topic.symbol)
        )
        gaps = await _largest(mine, lambda gap: gap.seq, _count(request))
        late = await self._p99()
        return {
            "topic": self._row(row, slowest, late, now_ns),
            "queues": queues,
            "gaps": [_gap(each) for each in gaps],
        }

    async def _gaps(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The newest open gaps, and how many there are by venue and cause."""
        text = str(request.get("filter", ""))[:FILTER_CHARACTERS_MAX].lower()
        every = self._parts.filling.gaps()
        counts: dict[tuple[str, str], int] = {}
        for number, gap in enumerate(every):
            key = (gap.venue, GapCause(gap.cause).name.lower())
            counts[key] = counts.get(key, 0) + 1
            if number % STEP == STEP - 1:
                await _breathe()
        matching = (
            gap for gap in every if text in f"{gap.channel}.{gap.venue}.{gap.symbol}".lower()
        )
        newest = await _largest(matching, lambda gap: gap.seq, _count(request))
        return {
            "counts": [{"venue": v, "cause": c, "open": n} for (v, c), n in sorted(counts.items())],
            "gaps": [_gap(each) for each in newest],
        }

    async def _strategies(self, request: Mapping[str, object]) -> dict[str, Any]:
        return {"strategies": self._parts.strategies.draw()[: _count(request)]}

    async def _risk(self, _request: Mapping[str, object]) -> dict[str, Any]:
        risk = self._parts.halting.draw()
        await _breathe()
        return {"risk": risk, "trading": self._parts.trading.draw()}

    async def _read(self) -> list[_Row]:
        """Every topic's count; moves the readings that rates are made of."""
        decoder = self._parts.decoder
        stats = decoder.topic_stats()
        now_ns = self._parts.clock.mono_ns()
        await _breathe()
        while len(self._names) < decoder.topic_count:
            until = min(decoder.topic_count, len(self._names) + STEP)
            self._names += map(decoder.topic_name, range(len(self._names), until))
            await _breathe()
        rows: list[_Row] = []
        for some in _cut(stats):
            rows += itertools.starmap(_Row, some)
            await _breathe()
        if now_ns - self._newest[0] >= RATE_NS:
            fresh = now_ns - self._newest[0] <= RATE_AGE_NS_MAX
            self._before = self._newest if fresh else (0, {})
            self._newest = (now_ns, {row.number: row.events for row in rows})
        return rows

    def _rates(self, row: _Row) -> float:
        """Events per second between the last two readings; 0 where there is one only."""
        (began_ns, before), (ended_ns, now) = self._before, self._newest
        if not before:
            return 0.0
        earlier = before.get(row.number, 0)
        return (now.get(row.number, earlier) - earlier) * NS_PER_S / (ended_ns - began_ns)

    async def _behind(self) -> dict[str, _Behind]:
        """Of each topic that waits anywhere, or was dropped, the slowest subscription."""
        now_ns = self._parts.clock.mono_ns()
        found: dict[str, _Behind] = {}
        for subscription in self._parts.bus.subscriptions:
            async for each in _lags(subscription):
                if not each[1] and not each[2] and not each[4]:
                    continue
                age_ns = _age(each, now_ns)
                known = found.get(each[0])
                if known is None or age_ns > known.age_ns:
                    found[each[0]] = _behind(each, age_ns)
        return found

    async def _p99(self) -> dict[int, int]:
        """Topic number → ns from the socket to the bus."""
        late = {}
        for some in _cut(self._parts.tap.topic_latency.quantiles(0.99)):
            late.update({topic: ns for topic, _, ns in some})
            await _breathe()
        return late


_Lag = tuple[str, int, int, int, int, int]


def _age(each: _Lag, now_ns: int) -> int:
    return max(0, now_ns - each[3]) if each[3] and each[1] else 0


def _behind(each: _Lag, age_ns: int) -> _Behind:
    return _Behind(depth=each[1], high_water=each[2], age_ns=age_ns, dropped=each[4])


async def _lags(subscription: AnySubscription) -> AsyncIterator[_Lag]:
    """(topic, depth, high water, oldest, dropped, events), one by one, with turns in between."""
    for some in _cut(subscription.queue.lag(False)):
        for each in some:
            yield each
        await _breathe()


async def _largest(items: Iterable[T], key: Callable[[T], Any], count: int) -> list[T]:
    """`heapq.nlargest`, in steps."""
    best: list[T] = []
    source = iter(items)
    while some := list(itertools.islice(source, STEP)):
        best = heapq.nlargest(count, itertools.chain(best, some), key=key)
        await _breathe()
    return best


class _Reversed(str):
    """A name that is large when it is early in the alphabet."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def _cut(items: list[T]) -> Iterable[list[T]]:
    return (items[start : start + STEP] for start in range(0, len(items), STEP))


async def _breathe() -> None:
    await asyncio.sleep(0)


def _count(request: Mapping[str, object]) -> int:
    wanted = request.get("rows", 40)
    return max(1, min(wanted, ROWS_MAX)) if isinstance(wanted, int) else 40


def _gap(gap: OpenGap) -> dict[str, object]:
    return {**gap_head(gap), "missing": gap.missing}
