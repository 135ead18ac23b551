"""A callback session against the stand-in: real SDK objects from foreign threads, and its faults.

Method: the broker's market is counted on both sides. What it delivered must be events, what it did
not deliver must be gaps of exactly the missing lots, and the raw log must give the same again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import numpy as np
import orjson
import pytest

from gateway.config import SubscriptionConfig
from tests.harness.broker_world import API_KEY, SECRET_KEY, START, world
from tickd.events import Flag, GapCause, Kind
from tickd.testing.shioaji_objects import stock_tick
from tickd.testing.shioaji_stand_in import Fault, Listing, UsageFigures

shioaji = pytest.importorskip("shioaji")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_every_callback_becomes_its_events_and_the_log_gives_them_again(
    tmp_path, asynchronous, capsys
):
    symbols = ("2330", "2330-ODD", "2317", "TXFR1", "IX0001", "NOPE")
    listings = (
        *(Listing(code) for code in ("2330", "2317")),
        Listing("TXFR1", "FUT", "TXFF6"),
        Listing("IX0001", "IND"),
    )
    async with world(
        tmp_path,
        symbols=symbols,
        channels=("trade", "quote", "depth", "index"),
        asynchronous=asynchronous,
        broker={"listings": listings},
    ) as made:
        await made.confirmed(9)
        await made.feed(1_800, per_second=20_000)
        if asynchronous:  # coroutines arrive after the feeding has ended
            await made.until(lambda: made.session.counters.callbacks >= 1_800 + 10, "all callbacks")
            await made.settled()
        status = made.session.status()
        assert status.symbols_missing == ("NOPE",)
        assert status.lines[0].state == "streaming"
        assert made.broker.keys == [(API_KEY, SECRET_KEY)]
    assert made.broker.logouts == 1
    # 200 rounds over 4 x tick, 4 x book, 1 x index.
    assert len(made.trades()) == 4 * 200
    assert len(made.of(Kind.QUOTE)) == 4 * 200 * 2
    assert len(made.of(Kind.DEPTH_HEAD)) == 4 * 200
    assert len(made.of(Kind.DEPTH)) == 4 * 200 * 10
    assert len(made.of(Kind.INDEX)) == 200
    assert made.gaps() == []
    trades = made.trades()
    assert np.count_nonzero(trades["flags"] & Flag.ODD_LOT) == 200
    assert made.decoder.counters().get("refused", 0) == 0
    assert made.replayed().tobytes() == made.events().tobytes()
    names = {orjson.loads(each)["symbol"] for _, each in made.decoder.instruments()}
    assert {"TXFF6", "TXFF6-TRIAL", "2330-ODD", "IX0001"} <= names
    assert b'"kind":"alias","symbol":"TXFR1","code":"TXFF6"' in made.frames()
    # Secrets appear nowhere.
    said = "".join(capsys.readouterr())
    for secret in (API_KEY, SECRET_KEY):
        assert secret not in said
        assert secret.encode() not in made.frames()
        assert secret not in repr(made.session.config)


async def test_repeats_are_dropped_jumps_are_gaps_and_trial_matches_are_neither(tmp_path):
    faults = (Fault(60, "duplicate", 7), Fault(120, "jump", 25), Fault(180, "trial", 3))
    async with world(tmp_path, channels=("trade",), broker={"faults": faults}) as made:
        await made.confirmed(3)
        await made.feed(300)
    assert len(made.trades()) == 300
    assert sorted(made.gaps()) == [(GapCause.SEQUENCE, 25)] * 3
    assert made.decoder.counters()["duplicates"] == 7
    trial = made.of(Kind.TRADE)
    assert np.count_nonzero(trial["flags"] & Flag.TRIAL) == 2 * 3  # two stocks


async def test_silence_at_the_market_is_found_by_its_volume(tmp_path):
    faults = (Fault(60, "silence", 90),)
    async with world(tmp_path, channels=("trade",), broker={"faults": faults}) as made:
        await made.confirmed(3)
        await made.feed(300)
    assert made.broker.unseen == 90
    assert len(made.trades()) == 210
    assert made.gaps() == [(GapCause.SEQUENCE, 30)] * 3


async def test_a_reconnect_of_the_sdk_closes_and_opens_the_connection(tmp_path):
    faults = (Fault(60, "event", 12), Fault(120, "event", 13))
    async with world(tmp_path, broker={"faults": faults}) as made:
        await made.confirmed(6)
        await made.feed(300)
        assert made.session.counters.disconnects == 1
        assert made.session.counters.connects == 2
        assert made.broker.logins == 1
        (line,) = made.session.status().lines
        assert (line.tries, line.ends, line.last_end) == (1, {"lost": 1}, "session event 12")
        assert made.session.counters.ends == {"lost": 1}
    assert made.gaps() == [(GapCause.DISCONNECT, 10)] * 3
    assert len(made.trades()) == 150 - 30
    assert made.replayed().tobytes() == made.events().tobytes()


async def test_a_session_that_stays_down_is_logged_in_again(tmp_path):
    faults = (Fault(60, "event", 1),)
    async with world(tmp_path, broker={"faults": faults}, sdk={"down_seconds_max": 0.1}) as made:
        await made.confirmed(6)
        await made.feed(120)
        await made.until(lambda: made.broker.logins == 2, "a second login")
        await made.confirmed(6)
        before = made.session.status().lines[0].bytes_received
        assert before > 60 * 100, "of the first login, too"
        await made.feed(60)
        (line,) = made.session.status().lines
        assert (line.tries, line.ends) == (2, {"lost": 1})
        assert line.bytes_received > before + 60 * 100
    assert (GapCause.DISCONNECT, 10) in made.gaps()
    assert len(made.trades()) == 30 + 30
    assert made.broker.logouts == 2


async def test_a_flapping_session_rests_before_the_next_login(tmp_path):
    flaps = tuple(Fault(6 * number, "event", code) for number in range(1, 4) for code in (12, 13))
    async with world(
        tmp_path,
        broker={"faults": flaps},
        sdk={"flaps_max": 3, "flap_window_seconds": 60.0, "flap_pause_seconds": 0.3},
    ) as made:
        await made.confirmed(6)
        began = time.monotonic()
        await made.feed(60)
        await made.until(lambda: made.broker.logins == 2, "a second login")
        assert time.monotonic() - began >= 0.3
        assert made.session.counters.flaps == 1


async def test_callbacks_beyond_the_queue_are_counted_and_a_gap(tmp_path):
    async with world(tmp_path, channels=("trade",), sdk={"queue_records_max": 100}) as made:
        await made.confirmed(3)
        await made.feed(30)
        feeding = made.broker.newest.feed(600)
        while not feeding.done():  # the loop is busy with something else
            time.sleep(0.001)  # noqa: ASYNC251 - that is the point
        await made.settled()
        await made.feed(30)
        counters = made.session.counters
        assert counters.callbacks_dropped == 500
        assert counters.callbacks_dropped + len(made.trades()) == 660
    gaps = made.gaps()
    assert {cause for cause, _ in gaps} == {GapCause.OVERFLOW}
    assert sum(missing for _, missing in gaps) == 500
    assert b'"cause":"overflow"' in made.frames()
    assert made.replayed().tobytes() == made.events().tobytes()


async def test_a_log_that_is_full_holds_the_queue_and_nothing_is_lost(tmp_path):
    async with world(tmp_path, channels=("trade",)) as made:
        await made.confirmed(3)
        made.tap.hold("a test")
        assert made.session.status().lines[0].paused
        await asyncio.wrap_future(made.broker.newest.feed(3_000))
        assert made.sdk.queue_depth == 3_000
        assert len(made.trades()) == 0
        made.tap.release("a test")
        await made.settled()
        assert made.session.counters.paused_ns > 0
    assert len(made.trades()) == 3_000
    assert made.gaps() == []


async def test_a_flood_after_a_stall_is_taken_whole_and_callbacks_stay_short(tmp_path):
    faults = (Fault(100, "stall", 200),)
    async with world(tmp_path, broker={"faults": faults}) as made:
        await made.confirmed(6)
        await made.feed(12_000, per_second=20_000)
    assert len(made.trades()) == 6_000
    assert made.gaps() == []


async def test_refused_subscriptions_are_named_and_the_others_go_on(tmp_path):
    async with world(
        tmp_path, channels=("trade",), broker={"rejected": frozenset({"2317"})}
    ) as made:
        await made.confirmed(2)
        await made.until(lambda: made.session.status().lines[0].refused, "the refusal")
        assert made.session.status().lines[0].refused == ("TIC/v1/STK/*/TSE/2317",)
        assert made.session.counters.subscribe_refusals >= 1
        await made.feed(20)
    assert len(made.trades()) == 20


async def test_failed_logins_are_repeated_within_their_rests_and_without_the_keys(tmp_path, capsys):
    refusals = deque(
        [
            shioaji.SystemMaintenance("please log in again after one minute"),
            shioaji.AuthError(f"bad key {API_KEY}"),
            shioaji.ShioajiConnectionError("no route"),
        ]
    )
    async with world(tmp_path, channels=("trade",), broker={"login_faults": refusals}) as made:
        await made.confirmed(3)
        assert made.broker.logins == 4
        assert made.session.counters.login_failures == 3
        assert made.sdk.logins_left == 100 - 4
    said = "".join(capsys.readouterr())
    assert "bad key ***" in said
    assert API_KEY not in said


async def test_the_days_logins_end_and_nobody_hammers_on(tmp_path):
    refusals = deque([shioaji.ServerError("no")] * 10)
    async with world(
        tmp_path, broker={"login_faults": refusals}, sdk={"logins_per_day_max": 3}
    ) as made:
        await made.until(
            lambda: "no login left today" in [each.fault for each in made.session.status().lines]
        )
        await asyncio.sleep(0.1)
        assert made.broker.logins == 3


async def test_an_exhausted_allowance_shows_and_its_empty_answers_end_no_stream(tmp_path):
    """Which streams give way to it is the planning's: tests/unit/app/test_trading_day.py."""
    async with world(
        tmp_path,
        channels=("trade",),
        sdk={"usage_interval_seconds": 0.02},
        config={"instruments_refresh_seconds": 0.02},
    ) as made:
        await made.confirmed(3)
        made.broker.usage = UsageFigures(2, 500 << 20, 500 << 20, 0)
        await made.until(lambda: made.sdk.usage_bytes_left == 0, "the usage")
        assert made.sdk.usage_connections == 2
        assert made.sdk.usage_stopped
        asked = made.broker.empty_answers
        await asyncio.sleep(0.1)  # five refreshes
        assert made.broker.empty_answers == asked
        assert made.session.status().symbols_missing == ()
        await made.feed(30)
    assert len(made.trades()) == 30


async def test_streams_silent_after_a_reconnect_are_subscribed_again(tmp_path):
    """The broker forgets the subscriptions while it is away; those alive before are missed."""
    known: dict[str, int] = {}
    async with world(
        tmp_path,
        symbols=("TXFR1",),
        channels=("trade",),
        sdk={"verify_seconds": 0.1},
        venue={"open_since": lambda _market, wall_ns: wall_ns - 10**12},
        activity=lambda: known,
    ) as made:
        await made.confirmed(1)
        await made.feed(10)
        known["trade.shioaji.TXFF6"] = time.monotonic_ns()
        made.broker.newest.subscriptions.clear()
        for code in (12, 13):
            made.broker.newest.say(code, "")
        await made.until(lambda: made.session.counters.streams_renewed == 1, "a renewal")
        await made.until(lambda: len(made.broker.newest.subscriptions) == 1, "the subscription")


async def test_shed_channels_are_unsubscribed_and_come_back(tmp_path):
    async with world(tmp_path) as made:
        await made.confirmed(6)
        made.session.shed(["depth"], "disk")
        await made.until(lambda: len(made.broker.newest.subscriptions) == 3, "unsubscribed")
        assert made.session.status().shed == ("depth",)
        made.session.restore()
        await made.until(lambda: len(made.broker.newest.subscriptions) == 6, "back")
    frames = made.frames()
    assert 0 < frames.index(b'"kind":"shed"') < frames.index(b'"kind":"restore"')


async def test_an_object_that_panics_is_kept_and_costs_the_others_nothing(tmp_path):
    """None in a closing odd-lot field: the SDK's own `to_dict` panics, with a BaseException."""
    broken = stock_tick("2330", START, price="100", volume=1, total_volume=1, closing=None)
    async with world(tmp_path, channels=("trade",)) as made:
        await made.confirmed(3)
        client = made.broker.newest
        await asyncio.wrap_future(client.thread.submit(client.deliver, broken))
        await made.feed(30)
        assert made.session.counters.callbacks_unreadable == 1
    assert len(made.trades()) == 30
    assert b'"class":"Unreadable","of":"TickSTKv1"' in made.frames()
    assert made.decoder.counters()["refused_unknown_message"] == 1


async def test_a_front_month_that_rolls_is_subscribed_under_its_new_code(tmp_path):
    async with world(
        tmp_path,
        symbols=("TXFR1",),
        channels=("trade",),
        config={"instruments_refresh_seconds": 0.02},
    ) as made:
        await made.confirmed(1)
        await made.feed(5)
        made.broker.by_code["TXFR1"] = Listing("TXFR1", "FUT", "TXFG6")
        name = "TIC/v1/FOP/*/TFE/TXFG6"
        await made.until(lambda: name in made.confirmed_names(), "the new month")
        await made.feed(5)
    names = {orjson.loads(each)["symbol"] for _, each in made.decoder.instruments()}
    assert {"TXFF6", "TXFG6"} <= names
    topics = {
        made.decoder.topic_name(topic): count for topic, count, _ in made.decoder.topic_stats()
    }
    assert topics["trade.shioaji.TXFG6"] == 5
    assert b'"symbol":"TXFR1","code":"TXFG6"' in made.frames()


async def test_a_plan_over_several_logins_loses_nothing_and_its_scanner_answers(tmp_path):
    codes = tuple(str(1101 + number) for number in range(6))
    async with world(
        tmp_path,
        symbols=codes,
        channels=("trade", "depth"),
        broker={"listings": tuple(Listing(code) for code in codes)},
        config={"streams_per_connection": 4},
    ) as made:
        await made.confirmed(12)
        assert [line.streams_count for line in made.session.status().lines] == [4, 4, 4]
        feeding = [client.feed(400) for client in made.broker.clients]
        for each in feeding:
            await asyncio.wrap_future(each)
        await made.settled()
        figures = await made.session.figures("volume")
        assert {each.symbol for each in figures} == set(codes)
        assert {each.volatility_f for each in figures} == {0.2}
    assert len(made.of(Kind.QUOTE)) + 2 * len(made.trades()) == 2 * 3 * 400
    assert made.gaps() == []
    assert made.replayed().tobytes() == made.events().tobytes()


async def test_patterns_select_from_the_list_of_the_broker(tmp_path):
    groups = (SubscriptionConfig(name="t", patterns=("shioaji:23*@trade",)),)
    async with world(tmp_path, symbols=("TXFR1",), channels=("trade",), groups=groups) as made:
        await made.confirmed(3)
        assert made.confirmed_names() == {
            "TIC/v1/FOP/*/TFE/TXFF6",
            "TIC/v1/STK/*/TSE/2330",
            "TIC/v1/STK/*/TSE/2317",
        }


def test_the_real_sdk_refuses_callbacks_and_queries_before_a_login_as_the_stand_in_does():
    real = shioaji.Shioaji(simulation=True)
    real.set_event_callback(lambda _resp, _code, _info, _event: None)
    with pytest.raises(shioaji.AuthError, match="Not authenticated"):
        real.set_on_tick_stk_v1_callback(lambda _tick: None)
    with pytest.raises(shioaji.AuthError, match="Not authenticated"):
        real.usage()
    with pytest.raises(shioaji.ShioajiValueError, match="at least 10 characters"):
        real.login("short", "short")
