"""Orders, reloads and load against the sessions of a daemon whose tasks do not run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import orjson
import pytest

from gateway.config import PlanConfig, SubscriptionConfig, UniverseConfig, VenueConfig
from gateway.errors import PatternError, PlanRefusedError
from gateway.instruments import InstrumentDefinition, control_record
from gateway.subscriptions.wishes import Listing
from gateway.venue import Figures
from recorder.config import ClickHouseConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.parts import Parts
from tickd.app.planning import ORDERS_MAX, Planning
from tickd.app.tap import Tap
from tickd.app.wiring import wire
from tickd.bus_queue import Limits, WhenFull
from tickd.errors import ConfigError, TickdError
from tickd.ports import Notice
from tickd.testing.batches import batch_of

USDM, OKX = "binance-usdm", "okx"


def config(directory: Path, **fields: object) -> Config:
    return msgspec.structs.replace(
        Config(
            node=NodeConfig(state_dir=str(directory)),
            clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
            venues=(
                VenueConfig(name=USDM, symbols=("BTCUSDT",), channels=("trade",)),
                VenueConfig(name=OKX, symbols=("BTC-USDT",), channels=("trade",), priority=50),
            ),
            subscriptions=(
                SubscriptionConfig(name="low", patterns=(f"{USDM}:*USDT@quote",), priority=10),
            ),
        ),
        **fields,
    )


@pytest.fixture
async def planning(tmp_path: Path) -> AsyncIterator[Planning]:
    parts = wire(config(tmp_path))
    yield parts.planning
    parts.tap.finish()
    parts.tap.detach()
    parts.raw_log.close()


def session(planning: Planning, venue: str = USDM):
    return planning._sessions[venue]


def wished(planning: Planning, venue: str = USDM) -> dict[str, int]:
    wishes = session(planning, venue).carried.wishes
    return {stream.name: priority for stream, priority in sorted(wishes.always.items())}


# Orders -----------------------------------------------------------------------------------------


async def test_an_order_is_wanted_with_its_priority_or_the_venue_s(planning: Planning) -> None:
    await planning.subscribe({"patterns": [f"{USDM}:ETHUSDT@trade"], "priority": 7})
    await planning.subscribe({"patterns": [f"{OKX}:ETH-USDT@trade"]})
    assert wished(planning) == {"btcusdt@trade": 100, "ethusdt@trade": 7}
    assert wished(planning, OKX) == {"trades-all:BTC-USDT": 50, "trades-all:ETH-USDT": 50}
    await planning.unsubscribe({"patterns": [f"{USDM}:BTCUSDT@*", f"{USDM}:ETHUSDT@trade"]})
    assert wished(planning) == {}


async def test_an_order_repeated_replaces_the_one_before(planning: Planning) -> None:
    for priority in (7, 8, 9):
        await planning.subscribe({"patterns": [f"{USDM}:ETHUSDT@trade"], "priority": priority})
    assert len(session(planning).carried.wanted.orders) == 1
    assert wished(planning)["ethusdt@trade"] == 9


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "no pattern given"),
        ({"patterns": []}, "no pattern given"),
        ({"patterns": "x"}, "no pattern given"),
        ({"patterns": ["BTCUSDT"]}, "not a pattern"),
        ({"patterns": [f"!{USDM}:BTCUSDT@trade"]}, "excludes nothing"),
        ({"patterns": ["binance-spot:BTCUSDT@trade"]}, "records no venue 'binance-spot'"),
        ({"patterns": [f"{USDM}:BTCUSDT@book_state"]}, "not at all"),
        ({"patterns": [f"{USDM}:A@trade"], "priority": "high"}, "a whole number"),
        ({"patterns": [f"{USDM}:S{n}@trade" for n in range(ORDERS_MAX + 1)]}, "at most 1000"),
    ],
)
async def test_an_order_that_cannot_be_obeyed_changes_nothing(
    planning: Planning, request_: dict[str, object], words: str
) -> None:
    before = session(planning).carried.wanted
    with pytest.raises(TickdError, match=words):
        await planning.subscribe(request_)
    assert session(planning).carried.wanted is before


async def test_a_pattern_that_selects_nothing_of_the_list_is_refused(planning: Planning) -> None:
    listing = Listing(frozenset({"BTCUSDT", "ETHUSDT"}), frozenset({"BTCUSDT", "ETHUSDT"}))
    session(planning).carried.listed(listing, "start")
    with pytest.raises(PatternError, match="selects none of the 2 symbols"):
        await planning.subscribe({"patterns": [f"{USDM}:*USDC@trade"]})
    await planning.subscribe({"patterns": [f"{USDM}:NEWUSDT@trade"]})  # may be listed tomorrow


async def test_an_order_beyond_the_limits_says_what_would_be_legal(tmp_path: Path) -> None:
    small = VenueConfig(
        name=USDM, symbols=("A",), channels=("trade",), streams_per_connection=1, connections_max=2
    )
    parts = wire(config(tmp_path, venues=(small,), subscriptions=()))
    try:
        with pytest.raises(PlanRefusedError, match="1 are possible") as refused:
            await parts.planning.subscribe({"patterns": [f"{USDM}:B@trade"], "priority": 200})
        assert refused.value.left_out == ("a@trade",), "the higher priority would stay"
    finally:
        parts.tap.finish()
        parts.tap.detach()
        parts.raw_log.close()


# The file ---------------------------------------------------------------------------------------


async def test_a_reload_follows_the_file_and_ends_orders(
    planning: Planning, tmp_path: Path
) -> None:
    await planning.subscribe({"patterns": [f"{USDM}:ETHUSDT@trade"]})
    venues = (
        VenueConfig(name=USDM, symbols=("XRPUSDT",), channels=("quote",), priority=3),
        VenueConfig(name=OKX, symbols=("BTC-USDT",), channels=("trade",), priority=50),
    )
    planning.reread_with(lambda: config(tmp_path, venues=venues, plan=PlanConfig(shard="0/1")))
    answer = planning.reload()
    assert answer == {
        "venues": {USDM: {"added": 0, "removed": 0}, OKX: {"added": 0, "removed": 0}},
        "wait_for_restart": [],
    }
    assert wished(planning) == {"xrpusdt@bookTicker": 3}
    assert planning.reloads == 1
    assert planning.taken_ns == planning.read_ns
    assert planning.config.plan == PlanConfig(shard="0/1")


async def test_what_a_reload_cannot_change_waits_for_a_restart(
    planning: Planning, tmp_path: Path
) -> None:
    venues = (
        VenueConfig(name=USDM, symbols=("XRPUSDT",), channels=("trade",), backoff_cap_seconds=61.0),
        VenueConfig(name="binance-spot", symbols=("BTCUSDT",)),
    )
    planning.reread_with(
        lambda: config(tmp_path, venues=venues, node=NodeConfig(id=9), subscriptions=())
    )
    assert planning.reload()["wait_for_restart"] == [
        "node",
        "venues binance-spot",
        "venues okx",
        "venues binance-usdm.backoff_cap_seconds",
    ]
    assert len(planning.waiting) == 4
    assert wished(planning) == {"xrpusdt@trade": 100}
    assert session(planning).config.backoff_cap_seconds == 60.0
    assert wished(planning, OKX) == {"trades-all:BTC-USDT": 50}


async def test_a_refused_file_changes_nothing_for_any_venue(
    planning: Planning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    venues = (
        VenueConfig(name=USDM, symbols=("XRPUSDT",), channels=("trade",)),
        VenueConfig(
            name=OKX,
            symbols=("A-USDT", "B-USDT"),
            channels=("trade",),
            streams_per_connection=1,
            connections_max=2,
        ),
    )
    planning.reread_with(lambda: config(tmp_path, venues=venues))
    taken_ns = planning.taken_ns
    with pytest.raises(PlanRefusedError):
        planning.reload()
    planning.on_hangup()
    assert planning.taken_ns == taken_ns < planning.read_ns
    assert wished(planning) == {"btcusdt@trade": 100}
    assert (planning.reloads, planning.reloads_refused) == (0, 2)
    assert "okx: 2 streams need" in (planning.refused or "")
    assert "reload_refused" in capsys.readouterr().out
    planning.reread_with(lambda: config(tmp_path))
    planning.reload()
    assert (planning.reloads, planning.reloads_refused, planning.refused) == (1, 2, None)


async def test_a_daemon_without_a_file_cannot_read_it_again(planning: Planning) -> None:
    with pytest.raises(ConfigError, match="not started from a file"):
        planning.reload()


# Load -------------------------------------------------------------------------------------------


async def test_load_pauses_the_lowest_priority_of_all_venues_first(planning: Planning) -> None:
    listing = Listing(frozenset({"BTCUSDT"}), frozenset({"BTCUSDT"}))
    session(planning).carried.listed(listing, "start")
    planning.bear(1.5, "lag")
    assert (session(planning).carried.floor, session(planning, OKX).carried.floor) == (50, 50)
    assert session(planning).status().streams_paused == 1
    assert session(planning, OKX).status().streams_paused == 0
    assert session(planning).counters.throttles == 1
    planning.bear(0.0, "lag")
    assert planning.floor == 50, "calm has to last"


async def test_a_slow_consumer_is_load_and_clickhouse_is_not(tmp_path: Path) -> None:
    parts = wire(config(tmp_path, plan=PlanConfig(lag_pause_ms=2, lag_resume_ms=1)))
    try:
        send_a_trade(parts.tap)
        while age_of(parts, "clickhouse") < 0.002:
            pass
        parts.planning.look(late_ns=0)
        assert (parts.planning.lag_s, parts.planning.floor) == (0.0, None)
        limits = Limits(records_total_max=100)
        slow = parts.bus.subscribe_bursts(
            name="slow", when_full=WhenFull.DROP_OLDEST, limits=limits
        )
        publish_old_trade(parts, 3.0)
        parts.planning.look(late_ns=0)
        assert slow.name == "slow"
        assert parts.planning.lag_s >= 3.0
        assert parts.planning.floor == 100
    finally:
        parts.tap.finish()
        parts.tap.detach()
        parts.raw_log.close()


class Leg:
    """The far end of a connection that nobody reads."""

    def on_notice(self, notice: Notice) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def send_a_trade(tap: Tap) -> None:
    connection = tap.open(venue=USDM, url="ws://x", streams=[], leg=Leg())
    definition = InstrumentDefinition(
        venue=USDM,
        symbol="BTCUSDT",
        asset_class="perpetual",
        price_scale=2,
        size_scale=3,
        tick=1,
        lot=1,
        multiplier="1",
    )
    tap.record(0, "C", control_record(definition))
    now_ms = connection + 1_795_219_200_000
    data = {"e": "trade", "E": now_ms, "T": now_ms, "s": "BTCUSDT", "t": connection}
    data |= {"p": "100.25", "q": "1.5", "X": "MARKET", "m": True}
    tap.frame(connection, orjson.dumps({"stream": "btcusdt@trade", "data": data}))
    tap._end_burst()


def age_of(parts: Parts, name: str) -> float:
    """Seconds that the oldest event of a queue has waited."""
    ages = {each.subscription: each.oldest_age_s for each in parts.bus.stats().queues}
    return ages[name]


def publish_old_trade(parts: Parts, age_s: float) -> None:
    """An event received so long ago, on a topic that is known."""
    number = parts.decoder.topic_stats()[0][0]
    stamp_ns = parts.clock.mono_ns() - round(age_s * 1e9)
    seq = (parts.raw_log.next_frame_no + 1_000) << 16
    parts.bus.publish(batch_of([(number, [seq])], mono_ns=stamp_ns))


async def test_a_late_loop_and_paused_sockets_are_load(planning: Planning) -> None:
    planning.look(late_ns=0)
    assert (planning.lag_s, planning.floor) == (0.0, None)
    planning.look(late_ns=2_100_000_000)
    assert (planning.lag_s, planning.floor) == (2.1, 100)


async def test_sockets_that_the_disk_holds_up_are_load(planning: Planning) -> None:
    planning._tap.hold("test")
    planning.look(late_ns=0)
    assert planning.floor == 100


# Universes --------------------------------------------------------------------------------------

BEST = UniverseConfig(name="best", venue=USDM, count=2)
OF_BEST = SubscriptionConfig(name="best", patterns=(f"{USDM}:{{best}}@depth",), priority=20)


@pytest.fixture
async def ranked(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = wire(config(tmp_path, universes=(BEST,), subscriptions=(OF_BEST,)))
    yield parts
    parts.tap.finish()
    parts.tap.detach()
    parts.raw_log.close()


async def test_members_are_swapped_in_their_venue_and_stay_over_a_reload(
    ranked: Parts, tmp_path: Path
) -> None:
    planning = ranked.planning
    assert planning.swap("best", ("ETHUSDT", "XRPUSDT"))
    assert wished(planning) == {
        "btcusdt@trade": 100,
        "ethusdt@depth@100ms": 20,
        "xrpusdt@depth@100ms": 20,
    }
    await planning.subscribe({"patterns": [f"{USDM}:{{best}}@trade"], "priority": 7})
    assert wished(planning)["xrpusdt@trade"] == 7
    assert planning.swap("best", ("ETHUSDT",))
    assert "xrpusdt@trade" not in wished(planning), "orders follow the members, too"
    assert wished(planning, OKX) == {"trades-all:BTC-USDT": 50}


async def test_members_beyond_the_limits_are_refused_and_change_nothing(tmp_path: Path) -> None:
    small = VenueConfig(
        name=USDM, symbols=("A",), channels=("trade",), streams_per_connection=1, connections_max=3
    )
    parts = wire(config(tmp_path, venues=(small,), universes=(BEST,), subscriptions=(OF_BEST,)))
    try:
        assert parts.planning.swap("best", ("B",))
        before = wished(parts.planning)
        assert not parts.planning.swap("best", ("B", "C"))
        assert wished(parts.planning) == before
    finally:
        parts.tap.finish()
        parts.tap.detach()
        parts.raw_log.close()


async def test_orders_of_a_universe_that_is_not_there_are_refused(ranked: Parts) -> None:
    with pytest.raises(PatternError, match="has no universe 'worst'"):
        await ranked.planning.subscribe({"patterns": [f"{USDM}:{{worst}}@trade"]})


async def test_a_reload_knows_the_members_taken_so_far(ranked: Parts, tmp_path: Path) -> None:
    async def ask(_: UniverseConfig) -> list[Figures]:
        return [Figures("ETHUSDT", turnover_f=2.0), Figures("XRPUSDT", turnover_f=1.0)]

    ranked.universes.ask_with("venue", ask)
    await ranked.universes.take(BEST)
    group = msgspec.structs.replace(OF_BEST, priority=30)
    ranked.planning.reread_with(lambda: config(tmp_path, universes=(BEST,), subscriptions=(group,)))
    assert ranked.planning.reload()["wait_for_restart"] == []
    assert wished(ranked.planning)["ethusdt@depth@100ms"] == 30
    ranked.planning.reread_with(lambda: config(tmp_path, universes=(), subscriptions=()))
    ranked.planning.reload()
    assert wished(ranked.planning) == {"btcusdt@trade": 100}
    assert ranked.universes.members == {}
