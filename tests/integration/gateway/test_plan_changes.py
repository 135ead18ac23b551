"""A plan that changes while the session runs: simulated venue, native decoder, real sockets."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.config import SubscriptionConfig, VenueConfig
from gateway.errors import PlanRefusedError
from gateway.servers.config import ProtocolConfig, SimServerConfig
from gateway.servers.sim import SimServer
from gateway.session import Session
from gateway.subscriptions.patterns import Pattern
from gateway.subscriptions.wishes import Order, Wanted
from gateway.venues.registry import find
from tests.reference.raw_log import read_log
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import Flag, GapCause, Kind, as_array
from tickd.native import Decoder, RawLog

VENUE = "binance-usdm"


class Recorder:
    """Session, tap, decoder; keeps trade ids and gaps by topic."""

    def __init__(self, session: Session, server: SimServer, decoder: Decoder) -> None:
        self.session = session
        self.server = server
        self.decoder = decoder
        self.trades: dict[str, list[int]] = {}
        self.gaps: list[tuple[str, str]] = []  # cause, symbol
        self.names: dict[int, str] = {}

    @property
    def carried(self) -> dict[str, set[str]]:
        """Connection number -> streams the venue sends on it."""
        clients = self.server.servers["usdm"].clients
        return {str(n): set(client.streams) for n, client in clients.items() if not client.closing}

    @property
    def streams(self) -> list[str]:
        return sorted(name for streams in self.carried.values() for name in streams)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - a venue, a session, a decoder
                await asyncio.sleep(0.01)

    async def more_trades(self, symbols: list[str], count: int = 20) -> None:
        before = {symbol: len(self.trades.get(symbol, ())) for symbol in symbols}
        await self.until(
            lambda: all(
                len(self.trades.get(symbol, ())) >= before[symbol] + count for symbol in symbols
            )
        )


def trades_of(*symbols: str) -> list[str]:
    return sorted(f"{symbol.lower()}@trade" for symbol in symbols)


@asynccontextmanager
async def recording(
    directory: Path, fast: dict[str, object], *, listed: int = 8, groups=(), strict=None, **fields
) -> AsyncIterator[tuple[Recorder, list[str]]]:
    clock = SystemClock()
    protocol = ProtocolConfig(**(strict or {"messages_per_s_max": 1_000}))
    config = SimServerConfig(symbols=listed, rate=4_000.0, seed=5, protocol=protocol)
    server = SimServer(config, clock)
    raw_log = RawLog(str(directory), node=1)
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    tap = Tap(raw_log, decoder, bus, clock=clock)
    bursts = bus.subscribe_bursts(
        name="all", when_full=WhenFull.DROP_OLDEST, limits=Limits(records_total_max=1 << 22)
    )
    addresses = await server.start()
    names = sorted(addresses.symbols[VENUE])
    first = VenueConfig(
        **{
            **fast,
            "name": VENUE,
            "symbols": tuple(names[:4]),
            "channels": ("trade",),
            "ws_url": addresses.ws[VENUE],
            "rest_url": addresses.rest[VENUE],
            **fields,
        }
    )

    def activity() -> dict[str, int]:
        return {decoder.topic_name(n): last for n, _, last in decoder.topic_stats()}

    venue = find(VENUE)
    session = Session(
        venue,
        Wanted(first, tuple(groups)),
        tap=tap,
        clock=clock,
        activity=activity,
        jitter=random.Random(1).random,
    )
    recorder = Recorder(session, server, decoder)

    async def keep() -> None:
        while batches := await bursts.take_bursts():
            names = {number: json.loads(text)["symbol"] for number, text in decoder.instruments()}
            for batch in batches:
                for row in as_array(batch):
                    symbol = names.get(int(row["instrument"]), "")
                    if row["kind"] == Kind.TRADE:
                        recorder.trades.setdefault(symbol, []).append(int(row["id"]))
                    elif row["kind"] == Kind.GAP and not row["flags"] & Flag.BACKFILLED:
                        recorder.gaps.append((GapCause(int(row["aux"]) & 0xFF).name, symbol))

    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.run())
            keeping = tasks.create_task(keep())
            running = tasks.create_task(session.run())
            try:
                yield recorder, names
            finally:
                running.cancel()
                await asyncio.wait([running])
                tap.finish()
                await asyncio.sleep(0.05)
                serving.cancel()
                keeping.cancel()
    finally:
        await server.stop()
        tap.detach()
        raw_log.close()
        bus.close()


def whole(ids: list[int]) -> bool:
    return ids == list(range(ids[0], ids[0] + len(ids)))


def controls(directory: Path, kind: str) -> list[dict[str, object]]:
    records = [json.loads(r.payload) for r in read_log(directory) if r.kind == "C"]
    return [record for record in records if record["kind"] == kind]


async def test_symbols_come_and_go_and_the_others_lose_nothing(fast, tmp_path: Path) -> None:
    async with recording(tmp_path, fast, streams_per_connection=3) as (r, names):
        await r.until(lambda: r.streams == trades_of(*names[:4]))
        await r.more_trades(names[:4])
        before = r.carried
        session = r.session
        changed = msgspec.structs.replace(session.config, symbols=(*names[1:4], *names[4:8]))
        change = session.want(Wanted(changed), "reload")
        assert change.removed == (f"{names[0].lower()}@trade",)
        assert sorted(change.added) == trades_of(*names[4:8])
        await r.until(lambda: r.streams == trades_of(*names[1:8]))
        await r.more_trades(names[1:8])
        for number, streams in before.items():
            assert streams - {f"{names[0].lower()}@trade"} <= r.carried[number], "a stream moved"
        assert all(len(streams) <= 3 for streams in r.carried.values())
        session.want(Wanted(msgspec.structs.replace(changed, symbols=tuple(names[:4]))), "reload")
        await r.until(lambda: r.streams == trades_of(*names[:4]))
        await r.more_trades(names[:4])
        await r.until(lambda: len(session.status().lines) == len(r.carried))
        assert session.counters.disconnects == session.counters.ends.get("plan", 0)
        assert all(whole(r.trades[name]) for name in names[1:4])
        assert {cause for cause, _ in r.gaps} == {"SHED"}
        assert {symbol for _, symbol in r.gaps} == {names[0]}
    plans = controls(tmp_path, "plan")
    assert [plan["cause"] for plan in plans] == ["start", "reload", "reload"]
    assert plans[1]["removed"] == [f"{names[0].lower()}@trade"]
    assert controls(tmp_path, "shed")[0]["topics"] == [f"trade.{VENUE}.{names[0]}"]


async def test_streams_that_must_move_are_made_before_they_are_broken(fast, tmp_path: Path) -> None:
    """One connection less may be open: the emptiest is drained, nothing is lost or doubled."""
    async with recording(tmp_path, fast, streams_per_connection=2) as (r, names):
        await r.until(lambda: len(r.carried) == 2 and len(r.streams) == 4)
        await r.more_trades(names[:4])
        session = r.session
        roomy = {"streams_per_connection": 8, "connections_max": 2}
        session.want(Wanted(msgspec.structs.replace(session.config, **roomy)), "reload")
        await r.until(lambda: len(r.carried) == 1)
        await r.more_trades(names[:4])
        assert r.streams == trades_of(*names[:4])
        assert all(whole(r.trades[name]) for name in names[:4])
        assert r.gaps == []
    assert {record["cause"] for record in controls(tmp_path, "shed")} == {"moved"}
    assert len(controls(tmp_path, "plan")[1]["moved"]) == 2


def requests(client, method: bytes) -> list[dict]:
    texts = [text for _, _, text in client.received if method in text]
    return [json.loads(text) for text in texts]


async def test_the_old_connection_lets_go_only_when_the_new_one_has_answered(stage) -> None:
    symbols = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")

    def listed(venue) -> None:
        venue.symbols = symbols

    async with stage(listed, symbols=symbols, streams_per_connection=2) as s:
        await s.until(lambda: [len(client.streams) for client in s.venue.open] == [2, 2])
        old, new = s.venue.open[1], s.venue.open[0]
        s.venue.acknowledge = False
        roomy = {"streams_per_connection": 4, "connections_max": 2}
        config = msgspec.structs.replace(s.session.config, **roomy)
        assert len(s.session.want(Wanted(config), "reload").moved) == 2
        await s.until(lambda: len(requests(new, b'"SUBSCRIBE"')) == 2)
        await asyncio.sleep(0.2)  # much longer than a turn of its loop
        assert requests(old, b"UNSUBSCRIBE") == []
        s.venue.acknowledge = True
        new.send({"result": None, "id": requests(new, b'"SUBSCRIBE"')[1]["id"]})
        await s.until(lambda: old.closed)
        (gone,) = requests(old, b"UNSUBSCRIBE")
        assert sorted(gone["params"]) == ["cusdt@trade", "dusdt@trade"]
        (shed,) = s.tap.controls("shed")
        assert shed["cause"] == "moved"
        await s.until(lambda: s.session.counters.ends == {"plan": 1})


async def test_a_connection_that_has_just_opened_keeps_what_it_gives_away(stage) -> None:
    """Its own answer comes behind the change of the plan: that is not the arrival elsewhere."""
    symbols = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")

    def listed(venue) -> None:
        venue.symbols = symbols
        venue.acknowledge = False

    async with stage(listed, symbols=symbols, streams_per_connection=2) as s:
        await s.until(lambda: [len(client.streams) for client in s.venue.open] == [2, 2])
        old, new = s.venue.open[1], s.venue.open[0]
        roomy = {"streams_per_connection": 4, "connections_max": 2}
        s.session.want(Wanted(msgspec.structs.replace(s.session.config, **roomy)), "reload")
        for client in (old, new):
            client.send({"result": None, "id": requests(client, b'"SUBSCRIBE"')[0]["id"]})
        await s.until(lambda: len(requests(new, b'"SUBSCRIBE"')) == 2)
        await asyncio.sleep(0.2)  # much longer than a turn of its loop
        assert requests(old, b"UNSUBSCRIBE") == []


async def test_a_symbol_that_was_never_asked_for_is_defined_before_it_is_subscribed(stage) -> None:
    """Spot's list is asked for by symbol: an order presses for it, a pattern for the whole one."""

    def listed(venue) -> None:
        venue.symbols = ("BTCUSDT", "NEWUSDT", "OTHERUSDT")

    async with stage(listed) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        config = s.session.config
        one = Order(True, Pattern.parse("binance-spot:NEWUSDT@trade"), 10)
        assert not s.session.want(Wanted(config, (), (one,)), "subscribe"), "not known yet"
        await s.until(lambda: s.venue.open[0].streams == {"btcusdt@trade", "newusdt@trade"})
        every = Order(True, Pattern.parse("binance-spot:*USDT@trade"), 10)
        s.session.want(Wanted(config, (), (every,)), "subscribe")
        await s.until(lambda: "otherusdt@trade" in s.venue.open[0].streams)
        assert s.venue.requests[-1][1] == "/api/v3/exchangeInfo"
        assert [c["symbol"] for c in s.tap.controls("instrument")] == [
            "BTCUSDT",
            "NEWUSDT",
            "OTHERUSDT",
        ]
        kinds = [json.loads(body)["kind"] for _, kind, body in s.tap.records if kind == "C"]
        assert kinds == [
            "instrument",
            "plan",
            "connect",
            *["instrument", "plan", "restore"] * 2,
        ]


async def test_a_rotation_shows_everybody_and_its_gaps_say_so(fast, tmp_path: Path) -> None:
    groups = [
        SubscriptionConfig(
            name="tail",
            patterns=(f"{VENUE}:*@trade",),
            priority=10,
            rotation_seconds=1.0,
            rotation_symbols=2,
        )
    ]
    fields = {"symbols": (), "groups": groups}
    async with recording(tmp_path, fast, listed=5, **fields) as (r, names):
        most = 0

        def seen() -> bool:
            nonlocal most
            most = max(most, len(r.streams))
            return set(r.trades) >= set(names) and len(r.gaps) >= 2

        await r.until(seen, 20.0)
        assert most <= 2
        assert {cause for cause, _ in r.gaps} == {"SHED"}
        assert r.session.counters.disconnects == 0
        assert len(r.session.status().turning["tail"]) == 2
    assert {plan["cause"] for plan in controls(tmp_path, "plan")} == {"start", "rotation"}


async def test_low_priorities_are_paused_and_come_back(fast, tmp_path: Path) -> None:
    groups = [SubscriptionConfig(name="low", patterns=(f"{VENUE}:*@trade",), priority=10)]
    async with recording(tmp_path, fast, groups=groups) as (r, names):
        await r.until(lambda: r.streams == trades_of(*names))
        await r.more_trades(names, 5)
        r.session.pause_below(100, "lag")
        await r.until(lambda: r.streams == trades_of(*names[:4]))
        await r.more_trades(names[:4])
        status = r.session.status()
        assert status.streams_paused == 4
        assert sum(line.bytes_received for line in status.lines) > 1_000, "bytes off the sockets"
        assert r.gaps == []
        r.session.pause_below(None, "lag")
        await r.until(lambda: r.streams == trades_of(*names))
        await r.more_trades(names, 5)
        assert all(whole(r.trades[name]) for name in names[:4])
        assert sorted(r.gaps) == [("SHED", name) for name in names[4:]]
    assert [record["paused_below"] for record in controls(tmp_path, "throttle")] == [100, None]
    for kind in ("shed", "restore"):
        assert {record["cause"] for record in controls(tmp_path, kind)} == {"lag"}


async def test_a_plan_beyond_the_limits_changes_nothing(fast, tmp_path: Path) -> None:
    small = {"streams_per_connection": 2, "connections_max": 3}
    async with recording(tmp_path, fast, **small) as (r, names):
        await r.until(lambda: len(r.streams) == 4)
        everything = Order(True, Pattern.parse(f"{VENUE}:*@trade"), 10)
        with pytest.raises(PlanRefusedError, match="4 connections of at most 2") as refused:
            r.session.want(Wanted(r.session.config, (), (everything,)), "subscribe")
        assert "the 4 streams of highest priority" in refused.value.hint
        assert sorted(refused.value.left_out) == trades_of(*names[4:])
        await r.more_trades(names[:4])
        assert r.streams == trades_of(*names[:4])
        most = max(len(streams) for streams in r.carried.values())
        assert (len(r.carried), most) == (2, 2)


@pytest.mark.proof
@pytest.mark.timeout(120)
async def test_any_changes_with_cut_connections_stay_within_what_the_venue_allows(
    fast, tmp_path: Path
) -> None:
    """Method: the venue refuses a stream and closes a connection beyond its limits, and says so.

    Reloads, rotations, pauses, replaced and cut connections by seed; at the end the venue sends
    exactly what is planned, and nothing was ever refused or closed by it.
    """
    dice = random.Random(7)
    groups = [
        SubscriptionConfig(
            name="tail",
            patterns=(f"{VENUE}:*@quote",),
            priority=10,
            rotation_seconds=1.0,
            rotation_symbols=2,
        )
    ]
    # Every connection is replaced again and again, and one place is there for all of them.
    limits = {"streams_per_connection": 4, "connections_max": 5, "rotation_seconds": 0.6}
    strict = {"streams_max": 4, "messages_per_s_max": 10}
    async with recording(tmp_path, fast, listed=14, strict=strict, groups=groups, **limits) as (
        r,
        names,
    ):
        session, clients = r.session, r.server.servers["usdm"].clients
        most_open = most_streams = 0
        for _ in range(40):
            match dice.randrange(4):
                case 0 | 1:
                    chosen = tuple(sorted(dice.sample(names, dice.randrange(13))))
                    config = msgspec.structs.replace(session.config, symbols=chosen)
                    session.want(session.carried.wanted._replace(config=config), "reload")
                case 2:
                    session.pause_below(dice.choice([None, 100]), "lag")
                case 3 if clients:
                    clients[dice.choice(sorted(clients))].abort()
            until = asyncio.get_running_loop().time() + dice.random() * 0.5
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.01)
                still = [client for client in clients.values() if not client.closing]
                most_open = max(most_open, len(still))
                most_streams = max([most_streams, *(len(client.streams) for client in still)])
        session.pause_below(None, "lag")
        turns = session.carried.wanted.groups[0]
        session.want(session.carried.wanted._replace(groups=()), "reload")
        planned = sorted(s.name for place in session.carried.places for s in place.streams)
        await r.until(lambda: r.streams == planned, 20.0)
        await r.until(lambda: all(line.state == "streaming" for line in session.status().lines))
        assert turns.rotation_symbols == 2
        assert (most_open <= 5, most_streams <= 4) == (True, True)
        assert session.counters.subscribe_refusals == 0
        assert session.counters.ends.get("venue", 0) == 0
        assert session.counters.plan_changes > 10
        assert session.counters.replacements > 10
    words = {record["reason"] for record in controls(tmp_path, "disconnect")}
    assert not [reason for reason in words if "1008" in str(reason)]
