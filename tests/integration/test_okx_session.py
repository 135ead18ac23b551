"""OKX end to end on loopback: session, tap, raw log and decoder against a venue that speaks v5.

Whatever live events say, the raw log says again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from gateway.config import SubscriptionConfig, UniverseConfig, VenueConfig
from gateway.session import Session
from gateway.subscriptions.wishes import Wanted
from gateway.venue import Venue
from gateway.venues import registry
from tests.integration.okx_server import SYMBOL, OkxServer, serving
from tickd.app.tap import Tap
from tickd.app.universe_sources import scanners
from tickd.app.universes import Universes
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.events import EVENT, BookState, Kind, as_array
from tickd.native import Decoder, EventBatch, L2Book, RawLog, RawLogReader

CHANNELS = ("aggtrade", "depth")
SETTINGS: dict[str, object] = {
    "backoff_first_seconds": 0.02,
    "backoff_cap_seconds": 0.1,
    "snapshot_retry_seconds": 0.02,
    "watchdog_interval_seconds": 0.02,
    "handover_overlap_seconds": 0.05,
}


class World:
    """The venue, what is recorded of it, and the book that a consumer keeps."""

    def __init__(self, venue: OkxServer, session: Session, decoder: Decoder) -> None:
        self.venue = venue
        self.session = session
        self.decoder = decoder
        self.batches: list[EventBatch] = []
        self._book: L2Book | None = None

    def take(self, batch: EventBatch) -> None:
        self.batches.append(batch)
        events = as_array(batch)
        depth = events[events["kind"] == Kind.DEPTH_HEAD]
        if self._book is None and len(depth):
            self._book = L2Book("okx", int(depth["instrument"][0]))
        if self._book is not None:
            self._book.apply(batch)

    def events(self, kind: Kind) -> np.ndarray:
        arrays = [as_array(batch) for batch in self.batches] or [np.empty(0, EVENT)]
        events = np.concatenate(arrays)
        chosen = events[events["kind"] == kind]
        return chosen[np.argsort(chosen["seq"], kind="stable")]

    def states(self) -> list[str]:
        return [BookState(int(aux)).name for aux in self.events(Kind.BOOK_STATE)["aux"]]

    def is_level(self) -> bool:
        """Whether the consumer's book is live and the venue's."""
        book = self._book
        return (
            book is not None
            and book.state == BookState.SYNCED
            and book.last_id == self.venue.seq
            and book.top(100) == self.venue.best()
        )

    async def until(self, condition: Callable[[], object], words: str) -> None:
        try:
            async with asyncio.timeout(5):
                while not condition():  # noqa: ASYNC110 - three parties, no common event
                    await asyncio.sleep(0.005)
        except TimeoutError:
            counters = self.decoder.counters()
            raise AssertionError(f"not within 5 s: {words}: {self.states()} {counters}") from None


@asynccontextmanager
async def recorded(
    directory: Path,
    change: Callable[[Venue], Venue] = lambda known: known,
    *,
    symbols: tuple[str, ...] = (SYMBOL,),
    groups: tuple[SubscriptionConfig, ...] = (),
) -> AsyncIterator[World]:
    clock = SystemClock()
    raw_log, decoder = RawLog(str(directory), node=1), Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    tap = Tap(raw_log, decoder, bus, clock=clock)
    async with serving() as venue, asyncio.TaskGroup() as tasks:
        config = VenueConfig(
            name="okx",
            symbols=symbols,
            channels=CHANNELS,
            ws_url=venue.ws_url,
            rest_url=venue.rest_url,
            **SETTINGS,
        )
        session = Session(
            change(registry.find("okx")),
            Wanted(config, groups),
            tap=tap,
            clock=clock,
            activity=dict,
            jitter=random.Random(1).random,
        )
        world = World(venue, session, decoder)
        bus.handle_bursts(world.take, name="consumer")
        running = tasks.create_task(session.run(), name="session")
        try:
            yield world
        finally:
            running.cancel()
            await asyncio.wait([running])
            tap.finish()
            tap.detach()
            raw_log.close()
    again = Decoder()
    replayed = [again.decode(chunk) for _, chunk in RawLogReader(str(directory))]
    assert in_order(replayed) == in_order(world.batches), "replay is not what was live"
    assert decoder.counters().get("refused", 0) == 0


def in_order(batches: list[EventBatch]) -> bytes:
    events = np.concatenate([as_array(batch) for batch in batches])
    return events[np.argsort(events["seq"], kind="stable")].tobytes()


async def test_the_book_follows_from_its_snapshot_through_keep_alive_and_reset(
    tmp_path: Path,
) -> None:
    async with recorded(tmp_path) as world:
        venue = world.venue
        await world.until(world.is_level, "the snapshot")
        venue.update("bids", "29999.9", "0")
        venue.update("bids", "29999.7", "5.5")
        venue.update("asks", "30000.1", "0.25")
        await world.until(world.is_level, "three updates")
        venue.keep_alive()
        venue.update("asks", "30000.3", "1")
        await world.until(world.is_level, "an update after a keep-alive")
        venue.reset()
        venue.update("bids", "29999.6", "3")
        await world.until(world.is_level, "an update after the maintenance reset")
        assert world.states() == ["SYNCED"]
        assert len(world.events(Kind.GAP)) == 0
        assert len(venue.requests("subscribe")) == 1


async def test_a_broken_chain_is_a_gap_and_a_new_subscription_mends_it(tmp_path: Path) -> None:
    async with recorded(tmp_path) as world:
        venue = world.venue
        await world.until(world.is_level, "the snapshot")
        before = venue.seq
        venue.update("bids", "29999.5", "9", said=False)
        lost = venue.seq
        venue.update("bids", "29999.4", "8")
        await world.until(world.is_level, "the book after the new subscription")
        (gap,) = world.events(Kind.GAP)
        assert (int(gap["id"]), int(gap["price"])) == (before + 1, lost)
        assert world.states() == ["SYNCED", "GAP", "SYNCED"]
        (unsubscribed,) = venue.requests("unsubscribe")
        assert unsubscribed["args"] == [{"channel": "books", "instId": SYMBOL}]
        assert len(venue.clients) == 1, "the connection stays"
        venue.update("asks", "30000.4", "2")
        await world.until(world.is_level, "an update after the resynchronisation")


async def test_a_missing_trade_is_a_gap_of_exactly_its_id(tmp_path: Path) -> None:
    async with recorded(tmp_path) as world:
        venue = world.venue
        await world.until(world.is_level, "the snapshot")
        venue.trade("30000.1", "0.5")
        venue.trade("30000.1", "1.5", fills=3)
        venue.trade("30000.2", "0.1", said=False)
        venue.trade("30000.2", "0.2")
        await world.until(lambda: len(world.events(Kind.TRADE)) == 3, "three trades")
        (gap,) = world.events(Kind.GAP)
        assert (int(gap["id"]), int(gap["price"]), int(gap["size"])) == (505, 505, 1)
        assert [int(number) for number in world.events(Kind.TRADE)["id"]] == [501, 504, 506]
        assert [int(count) for count in world.events(Kind.TRADE)["aux"]] == [1, 3, 1]


async def test_a_cut_connection_is_a_gap_with_the_ids_that_were_missed(tmp_path: Path) -> None:
    async with recorded(tmp_path) as world:
        venue = world.venue
        await world.until(world.is_level, "the snapshot")
        venue.trade("30000.1", "0.5")
        await world.until(lambda: len(world.events(Kind.TRADE)) == 1, "a trade")
        venue.clients[0].cut()
        venue.trade("30000.1", "0.5")
        await world.until(
            lambda: len(venue.clients) == 2 and len(venue.clients[-1].topics) == len(CHANNELS),
            "a new connection",
        )
        await world.until(world.is_level, "the book of the new connection")
        venue.trade("30000.1", "0.5")
        await world.until(lambda: len(world.events(Kind.TRADE)) == 2, "a trade after the cut")
        gaps = [(int(gap["id"]), int(gap["price"])) for gap in world.events(Kind.GAP)]
        assert (502, 502) in gaps
        assert world.states() == ["SYNCED", "GAP", "SYNCED"]


async def test_quiet_connections_are_kept_alive_by_the_text_ping(tmp_path: Path) -> None:
    def impatient(venue: Venue) -> Venue:
        limits = dataclasses.replace(
            venue.limits, client_ping_seconds=0.05, heartbeat_seconds=1.0, silence_seconds={}
        )
        return venue._replace(limits=limits)

    async with recorded(tmp_path, impatient) as world:
        await world.until(lambda: world.venue.pings() >= 5, "five pings")
        assert world.decoder.counters()["pongs"] >= 4
        assert world.session.counters.silences == 0
        assert len(world.venue.clients) == 1


async def test_members_ranked_by_the_venue_are_swapped_and_who_stays_loses_nothing(
    tmp_path: Path,
) -> None:
    best = UniverseConfig(name="best", venue="okx", count=2)
    group = SubscriptionConfig(name="best", patterns=("okx:{best}@aggtrade",))
    records: list[dict[str, object]] = []
    async with recorded(tmp_path / "raw", symbols=(), groups=(group,)) as world:
        venue, session = world.venue, world.session

        def swap(name: str, symbols: tuple[str, ...]) -> bool:
            session.want(session.carried.wanted._replace(universes={name: symbols}), "universe")
            return True

        universes = Universes(
            (best,), directory=tmp_path / "universes", record=records.append, clock=SystemClock()
        )
        universes.ask_with("venue", scanners([session]))
        universes.on_change(swap)
        venue.turnover = {"BTC-USDT": 9.0, "BTC-USDT-SWAP": 5.0, "BTC-USD-270326": 1.0}
        await world.until(lambda: session.can_rank, "the session is up")
        await universes.take(best)
        assert universes.members == {"best": ("BTC-USDT", "BTC-USDT-SWAP")}
        await world.until(lambda: asked(venue, "subscribe") == [*universes.members["best"]], "both")
        venue.trade("30000.1", "0.5")
        venue.turnover["BTC-USD-270326"] = 7.0
        await universes.take(best)
        venue.trade("30000.2", "0.5")
        await world.until(lambda: asked(venue, "unsubscribe") == ["BTC-USDT-SWAP"], "it goes")
        venue.trade("30000.3", "0.5")
        await world.until(lambda: len(world.events(Kind.TRADE)) == 3, "three trades")
        assert [int(number) for number in world.events(Kind.TRADE)["id"]] == [501, 502, 503]
        assert len(world.events(Kind.GAP)) == 0
        assert asked(venue, "subscribe")[2:] == ["BTC-USD-270326"]
        assert len(venue.clients) == 1
    assert [each["symbols"] for each in records] == [
        ("BTC-USDT", "BTC-USDT-SWAP"),
        ("BTC-USDT", "BTC-USD-270326"),
    ]


def asked(venue: OkxServer, operation: str) -> list[str]:
    """The symbols in requests, in order."""
    return [arg["instId"] for each in venue.requests(operation) for arg in each["args"]]
