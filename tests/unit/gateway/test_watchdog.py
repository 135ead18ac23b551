"""Silence is judged stream by stream, with growing patience for quiet markets."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.venue import Stream
from gateway.watchdog import STRIKES_MAX, SilenceWatch, heartbeat_lost, last_activity

SECOND = 1_000_000_000
TRADE = Stream("btcusdt@trade", "trade", "BTCUSDT", "s", ("trade.v.BTCUSDT",))
DEPTH = Stream("btcusdt@depth", "depth", "BTCUSDT", "s", ("depth.v.BTCUSDT",))
MARK = Stream("b@mark", "mark", "BTCUSDT", "s", ("mark.v.BTCUSDT", "funding.v.BTCUSDT"))
ORDER = Stream("b@force", "liquidation", "BTCUSDT", "s", ("liquidation.v.BTCUSDT",))


def watch() -> SilenceWatch:
    return SilenceWatch((TRADE, DEPTH, MARK, ORDER), {"trade": 10, "depth": 5, "mark": 3})


def test_a_live_book_does_not_prove_live_trades():
    activity = {"trade.v.BTCUSDT": 0, "depth.v.BTCUSDT": 11 * SECOND, "mark.v.BTCUSDT": 11 * SECOND}
    assert watch().silent(activity, 0, 11 * SECOND) == ("btcusdt@trade",)


def test_silence_counts_from_the_beginning_of_reading():
    assert watch().silent({}, 8 * SECOND, 10 * SECOND) == ()


def test_any_topic_of_a_stream_is_a_sign_of_life():
    assert last_activity(MARK, {"funding.v.BTCUSDT": 7}) == 7


def test_channel_without_a_budget_may_be_silent_for_ever():
    assert "b@force" not in watch().silent({}, 0, 10**18)


def test_zero_switches_a_watch_off():
    assert SilenceWatch((TRADE,), {"trade": 0}).silent({}, 0, 10**18) == ()


def test_each_replacement_doubles_the_patience_until_a_message_comes():
    guard = SilenceWatch((TRADE,), {"trade": 10})
    since = 0
    for strikes in range(STRIKES_MAX + 2):
        budget = 10 * SECOND << min(strikes, STRIKES_MAX)
        assert guard.silent({}, since, since + budget) == ()
        silent = guard.silent({}, since, since + budget + 1)
        assert silent == ("btcusdt@trade",)
        guard.strike(silent, {})
        since += budget + 1
    activity = {"trade.v.BTCUSDT": since}
    assert guard.silent(activity, since, since + 10 * SECOND) == ()
    assert guard.silent(activity, since, since + 10 * SECOND + 1) == ("btcusdt@trade",)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_heartbeat(last, now):
    assert heartbeat_lost(last, now, None) is False
    assert heartbeat_lost(last, now, 75.0) == (now - last > 75 * SECOND)


def test_a_stream_that_joined_later_is_judged_from_then_on():
    """And its joining makes nobody else younger."""
    joined = {"btcusdt@depth": 9 * SECOND}
    assert watch().silent({}, 0, 10 * SECOND + 1, joined) == ("btcusdt@trade", "b@mark")
    assert "btcusdt@depth" in watch().silent({}, 0, 14 * SECOND + 1, joined)


def test_only_what_is_followed_is_watched_and_patience_stays():
    guard = SilenceWatch((TRADE,), {"trade": 10, "depth": 5})
    guard.strike(["btcusdt@trade"], {})
    guard.follow((TRADE, DEPTH))
    assert guard.silent({}, 0, 11 * SECOND) == ("btcusdt@depth",)
    guard.follow((TRADE,))
    assert guard.silent({}, 0, 21 * SECOND) == ("btcusdt@trade",)
