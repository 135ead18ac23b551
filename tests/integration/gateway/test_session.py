"""The session over real sockets: what the venue does, and what ends up in the raw log."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest
import uvloop
from picows import WSMsgType

from tickd.errors import TickdError


def trade_ids(tap) -> list[int]:
    return [
        m["data"]["t"]
        for m in map(json.loads, tap.payloads("W"))
        if m.get("data", {}).get("e") == "trade"
    ]


async def test_definitions_precede_frames_and_every_frame_is_recorded(stage):
    async with stage(channels=("trade", "quote")) as s:
        await s.until(lambda: s.state == "streaming")
        for number in range(100):
            s.venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": number})
        await s.until(lambda: len(trade_ids(s.tap)) == 100)
        assert trade_ids(s.tap) == list(range(100))
        kinds = [json.loads(p)["kind"] for _, k, p in s.tap.records if k == "C"]
        assert kinds == ["instrument", "plan", "connect"]
        assert s.tap.payloads("R")[0].startswith(b"GET /api/v3/exchangeInfo?symbols=")
        connect = s.tap.controls("connect")[0]
        assert connect["url"] == f"{s.venue.ws_url}/stream"
        assert connect["streams"] == ["btcusdt@trade", "btcusdt@bookTicker"]
        status = s.session.status()
        assert (status.instruments_count, status.symbols_missing) == (1, ())
        assert status.lines[0].connections == (1,)
    assert s.tap.controls("disconnect") == [
        {"kind": "disconnect", "connection": 1, "reason": "session stopped"}
    ]


async def test_usdm_connects_each_class_of_streams_to_its_own_path(stage):
    channels = ("trade", "depth", "mark", "aggtrade", "liquidation")
    async with stage(name="binance-usdm", channels=channels) as s:
        await s.until(lambda: len(s.venue.open) == 2 and all(c.streams for c in s.venue.open))
        assert {c.path: c.streams for c in s.venue.open} == {
            "/public/stream": {"btcusdt@trade", "btcusdt@depth@100ms"},
            "/market/stream": {"btcusdt@markPrice@1s", "btcusdt@aggTrade", "btcusdt@forceOrder"},
        }


async def test_cut_connection_is_reopened_and_resubscribed(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.open[0].transport.disconnect(graceful=False)
        await s.until(lambda: len(s.venue.clients) == 2 and s.venue.clients[1].streams)
        s.venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": 7})
        await s.until(lambda: trade_ids(s.tap) == [7])
        assert s.tap.controls("disconnect")[0]["reason"] == "connection lost"
        assert [c["connection"] for c in s.tap.controls("connect")] == [1, 2]


async def test_close_code_and_words_of_the_venue_are_recorded(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.open[0].close(1008, b"too many\nrequests")
        await s.until(lambda: s.tap.controls("disconnect"))
        assert s.tap.controls("disconnect")[0]["reason"] == (
            "venue closed: 1008 too many\\nrequests"
        )


async def test_venue_that_cuts_at_once_is_asked_again_with_growing_pauses(stage):
    async with stage(lambda v: v.decline.extend([(503, {})] * 6)) as s:
        await s.until(lambda: s.venue.open)
        assert len(s.venue.upgrades) == 7
        pauses = [b[0] - a[0] for a, b in zip(s.venue.upgrades, s.venue.upgrades[1:], strict=False)]
        assert max(pauses) < 0.1 + 0.3, "the cap holds"
        assert s.session.counters.connect_failures == 6
        await s.until(lambda: s.state == "streaming")
        assert s.session.status().lines[0].fault is None


async def test_throttled_upgrade_waits_as_long_as_the_venue_asks(stage):
    async with stage(lambda v: v.decline.append((429, {"Retry-After": "1"}))) as s:
        await s.until(lambda: s.venue.open)
        (first, _), (second, _) = s.venue.upgrades
        assert second - first >= 1.0


async def test_snapshot_is_fetched_while_frames_keep_flowing(stage):
    gate = asyncio.Event()
    async with stage(lambda v: setattr(v, "depth_gate", gate), channels=("trade", "depth")) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.publish_depth()
        await s.until(lambda: s.session.status().snapshots_pending == ("BTCUSDT",))
        for number in range(50):
            s.venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": number})
        await s.until(lambda: len(trade_ids(s.tap)) == 50)
        assert not s.tap.synced("BTCUSDT")
        gate.set()
        await s.until(lambda: s.tap.synced("BTCUSDT"))
        (reply,) = [p for p in s.tap.payloads("R") if b"/depth?" in p]
        head, body = reply.split(b"\n", 1)
        assert head == b"GET /api/v3/depth?symbol=BTCUSDT&limit=1000 200"
        assert json.loads(body)["lastUpdateId"] == 2
        assert s.session.status().snapshots_pending == ()


async def test_gap_in_a_book_brings_a_new_snapshot_on_the_same_connection(stage):
    async with stage(channels=("depth",)) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.publish_depth()
        await s.until(lambda: s.tap.synced("BTCUSDT"))
        s.venue.publish_depth(skip=5)
        await s.until(lambda: s.session.counters.snapshots_fetched == 2)
        s.venue.publish_depth()
        await s.until(lambda: s.tap.synced("BTCUSDT"))
        assert len(s.tap.controls("connect")) == 1


async def test_throttled_snapshot_waits_for_retry_after_and_then_succeeds(stage):
    replies = [(429, {"Retry-After": "1"}, b'{"code":-1003}'), (500, {}, b"oops")]
    async with stage(lambda v: v.replies.extend(replies), channels=("depth",)) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.publish_depth()
        await s.until(lambda: s.tap.synced("BTCUSDT"))
        first, second, _third = [at for at, path in s.venue.requests if "/depth" in path]
        assert second - first >= 1.0
        assert s.session.counters.rest_throttled == 1
        assert s.session.counters.snapshot_failures == 2


async def test_rotation_makes_before_it_breaks_and_loses_nothing(stage, trades):
    """Every id published after the subscription is recorded; overlap only around hand-overs."""
    published: list[int] = []
    async with stage(rotation_seconds=0.4) as s, asyncio.TaskGroup() as tasks:
        publisher = tasks.create_task(trades(s.venue, published)())
        await s.until(lambda: s.session.counters.replacements >= 3, 10.0)
        publisher.cancel()
        last = published[-1]
        await s.until(lambda: last in trade_ids(s.tap))
        ids = trade_ids(s.tap)
        assert set(ids) == set(range(min(ids), last + 1)), "an id is missing"
        per_leg: dict[int, list[int]] = {}
        for connection, kind, payload in s.tap.records:
            if kind == "W" and b'"trade"' in payload:
                per_leg.setdefault(connection, []).append(json.loads(payload)["data"]["t"])
        for legs in per_leg.values():
            assert legs == list(range(legs[0], legs[-1] + 1)), "one leg repeats or skips"
        assert s.session.counters.handovers_incomplete == 0
        first = s.tap.controls("disconnect")[0]
        assert first["reason"] == "replaced by connection 2: rotation"


async def test_old_connection_stays_while_the_new_one_owes_a_stream(stage):
    async with stage(
        rotation_seconds=0.5, handover_max_seconds=0.4, channels=("trade", "quote")
    ) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        for stream in ("btcusdt@trade", "btcusdt@bookTicker"):
            s.venue.publish(stream, {"e": "trade", "s": "BTCUSDT", "t": 1})
        await s.until(lambda: len(s.tap.active) == 2)
        await s.until(lambda: len(s.venue.open) == 2 and s.venue.open[1].streams)
        s.venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": 2})
        await s.until(lambda: s.session.counters.replacements >= 1)
        assert s.session.counters.handovers_incomplete == 1, "the bound ended it, and it says so"


async def test_shutdown_notice_opens_a_new_connection_at_once(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.open[0].send({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
        await s.until(lambda: s.session.counters.replacements == 1, 2.0)
        assert len(s.venue.clients) == 2
        assert s.session.counters.shutdown_notices == 1
        assert "shutdown" in s.tap.controls("disconnect")[0]["reason"]


async def test_failed_successor_leaves_the_old_connection_streaming(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        old = s.venue.open[0]
        s.venue.decline.extend([(503, {})] * 3)
        old.send({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
        await s.until(lambda: s.session.counters.connect_failures >= 2)
        assert not old.closed
        s.venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": 5})
        await s.until(lambda: 5 in trade_ids(s.tap))
        await s.until(lambda: s.session.counters.replacements >= 1)


async def test_silent_stream_replaces_its_connection_and_a_live_one_does_not(stage, trades):
    published: list[int] = []
    async with (
        stage(channels=("trade", "quote"), silence_seconds={"trade": 0.3, "quote": 0.3}) as s,
        asyncio.TaskGroup() as tasks,
    ):
        publisher = tasks.create_task(trades(s.venue, published)())
        await s.until(lambda: s.session.counters.silences >= 1)
        await s.until(lambda: s.session.counters.replacements >= 1)
        publisher.cancel()
        reason = s.tap.controls("disconnect")[0]["reason"]
        assert reason.endswith("silent: btcusdt@bookTicker")


async def test_refused_subscription_says_why_and_is_tried_again(stage):
    async with stage(lambda v: setattr(v, "refuse", "btcusdt@trade")) as s:
        await s.until(lambda: s.session.counters.subscribe_refusals >= 2)
        fault = s.session.status().lines[0].fault
        assert fault is not None
        assert "subscription refused" in fault
        assert "Invalid request" in fault
        s.venue.refuse = None
        await s.until(lambda: s.state == "streaming")


async def test_subscription_without_an_answer_times_out(stage):
    async with stage(
        lambda v: setattr(v, "acknowledge", False), subscribe_timeout_seconds=0.1
    ) as s:
        await s.until(lambda: s.session.counters.subscribe_timeouts >= 1)
        s.venue.acknowledge = True
        await s.until(lambda: s.state == "streaming")


async def test_paused_leg_reads_nothing_and_goes_on_where_it_stopped(stage):
    async with stage(silence_seconds={"trade": 0.5}) as s:
        await s.until(lambda: s.state == "streaming")
        (leg,) = s.tap.legs()
        leg.pause_reading()
        leg.pause_reading()
        for number in range(20):
            s.venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": number})
        with pytest.raises(TimeoutError):
            await s.until(lambda: trade_ids(s.tap), 0.8)
        assert s.session.status().lines[0].paused
        assert s.session.counters.silences == 0, "our own pause is no silence"
        leg.resume_reading()
        await s.until(lambda: trade_ids(s.tap) == list(range(20)))
        assert s.session.counters.pauses == 1
        assert s.session.counters.paused_ns >= 800_000_000
        assert len(s.venue.clients) == 1


async def test_pings_are_answered_with_their_payload_and_counted_as_messages(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        client = s.venue.open[0]
        client.transport.send_ping(b"42")
        await s.until(lambda: any(kind == WSMsgType.PONG for _, kind, _ in client.received))
        assert [p for _, kind, p in client.received if kind == WSMsgType.PONG] == [b"42"]


def wants_text_pings(venue):
    """As OKX does: a text ping of ours after so much quiet."""
    return venue._replace(
        wire=dataclasses.replace(venue.wire, ping=b"ping"),
        limits=dataclasses.replace(
            venue.limits, client_ping_seconds=0.05, heartbeat_seconds=0.4, silence_seconds={}
        ),
    )


async def test_quiet_connection_is_kept_alive_by_text_pings(stage):
    async with stage(change=wants_text_pings) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        client = s.venue.open[0]
        await s.until(lambda: [p for _, _, p in client.received].count(b"ping") >= 12)
        assert s.session.counters.silences == 0
        assert len(s.venue.clients) == 1


async def test_unanswered_text_pings_replace_the_connection(stage):
    async with stage(change=wants_text_pings) as s:
        await s.until(lambda: s.state == "streaming")
        s.venue.acknowledge = False
        await s.until(lambda: s.session.counters.silences >= 1)
        s.venue.acknowledge = True
        await s.until(lambda: s.session.counters.replacements >= 1)
        reasons = [end["reason"] for end in s.tap.controls("disconnect")]
        assert any(reason.endswith("heartbeat lost") for reason in reasons)


async def test_client_messages_stay_within_the_venues_rate(stage):
    """1200 streams are six messages; Binance spot takes five per second."""
    symbols = tuple(f"S{number}USDT" for number in range(1200))
    async with stage(
        lambda v: setattr(v, "symbols", symbols),
        symbols=symbols,
        streams_per_connection=1024,
        subscribe_timeout_seconds=5.0,
    ) as s:
        await s.until(lambda: sum(len(c.streams) for c in s.venue.open) == 1200, 8.0)
        for client in s.venue.open:
            times = [at for at, kind, _ in client.received if kind == WSMsgType.TEXT]
            for start in times:
                assert sum(start <= at < start + 1.0 for at in times) <= 5
            assert len(client.streams) <= 1024


async def test_fragments_are_joined_and_binary_messages_kept_as_they_are(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        transport = s.venue.open[0].transport
        transport.send(WSMsgType.TEXT, b'{"stream":"btcusdt@trade",', fin=False)
        transport.send_ping(b"between")
        transport.send(WSMsgType.CONTINUATION, b'"data":{"e":"trade","s":"BTC', fin=False)
        transport.send(WSMsgType.CONTINUATION, b'USDT","t":9}}', fin=True)
        transport.send(WSMsgType.BINARY, bytes(range(256)))
        large = b'{"stream":"btcusdt@trade","data":{"e":"x","s":"BTCUSDT","pad":"%s"}}' % (
            b"x" * 3_000_000
        )
        transport.send(WSMsgType.TEXT, large)
        await s.until(lambda: large in s.tap.payloads("W"))
        assert trade_ids(s.tap) == [9]
        assert s.tap.payloads("B") == [bytes(range(256))]


async def test_continuation_without_a_beginning_ends_the_connection_on_record(stage):
    async with stage() as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.open[0].transport.send(WSMsgType.CONTINUATION, b"x", fin=True)
        await s.until(lambda: s.tap.controls("disconnect"))
        assert s.tap.controls("disconnect")[0]["reason"].startswith("protocol violation")


async def test_unlisted_symbol_is_reported_and_the_others_are_recorded(stage):
    async with stage(symbols=("BTCUSDT", "NOPEUSDT")) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        assert s.session.status().symbols_missing == ("NOPEUSDT",)
        assert s.venue.open[0].streams == {"btcusdt@trade"}


async def test_symbol_listed_later_joins_a_connection_that_has_room(stage):
    async with stage(symbols=("BTCUSDT", "NEWUSDT"), instruments_refresh_seconds=0.1) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        s.venue.symbols = ("BTCUSDT", "NEWUSDT")
        await s.until(lambda: s.venue.open[0].streams == {"btcusdt@trade", "newusdt@trade"})
        assert len(s.venue.clients) == 1
        assert len(s.tap.controls("instrument")) == 2, "only new definitions are recorded"


async def test_without_rest_streams_are_recorded_all_the_same(stage):
    async with stage(rest_url="http://127.0.0.1:1", instruments_wait_seconds=0.1) as s:
        await s.until(lambda: s.venue.open and s.venue.open[0].streams)
        assert s.session.status().symbols_missing == ()
        assert s.session.counters.instrument_failures >= 1


async def test_closed_raw_log_ends_the_session_with_its_own_error(stage):
    async def run():
        async with stage() as s:
            await s.until(lambda: s.venue.open and s.venue.open[0].streams)
            s.tap.closed_log = True
            s.venue.open[0].transport.disconnect(graceful=False)
            await s.until(lambda: False)

    with pytest.raises(ExceptionGroup) as ended:
        await run()
    (error,) = ended.value.exceptions
    assert isinstance(error, TickdError)
    assert str(error) == "the raw log is closed"


def test_everything_works_on_uvloop_too(stage, trades):
    """The daemon's loop: replacement, pause and resume, a snapshot, the end."""

    async def run() -> None:
        published: list[int] = []
        channels = ("trade", "depth")
        async with (
            stage(rotation_seconds=0.3, channels=channels) as s,
            asyncio.TaskGroup() as tasks,
        ):
            publisher = tasks.create_task(trades(s.venue, published)())
            await s.until(lambda: s.session.counters.replacements >= 1)
            for leg in s.tap.legs():
                leg.pause_reading()
            seen = len(trade_ids(s.tap))
            await s.until(lambda: len(published) > seen + 20)
            for leg in s.tap.legs():
                leg.resume_reading()
            s.venue.publish_depth()
            await s.until(lambda: s.tap.synced("BTCUSDT"))
            publisher.cancel()
            last = published[-1]
            await s.until(lambda: last in trade_ids(s.tap))
            ids = set(trade_ids(s.tap))
            assert ids == set(range(min(ids), last + 1))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
