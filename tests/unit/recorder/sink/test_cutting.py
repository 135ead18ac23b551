"""The cut policy in a made-up market: what it does at which rate, and what it never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.sink.cutting import CutLimits, CutPolicy

MS = 10**6
LIMITS = CutLimits(
    rows_max=100_000,
    bytes_max=12 << 20,
    age_ms_min=200,
    age_ms_max=1_000,
    rows_efficient=20_000,
    cut_cpu_us_max=2_000,
)
# Of a cut: what it costs in any case, and per event.
FIXED_NS, PER_EVENT_NS = 100_000, 8.0


class Market:
    """Events at a rate, cut as the policy says; every tenth of a millisecond is a burst."""

    def __init__(self, limits=LIMITS, per_event_ns=PER_EVENT_NS, share=0.7):
        self.policy = CutPolicy(limits)
        self.per_event_ns, self.share = per_event_ns, share
        self.now_ns = self.begun_ns = 0
        self.cuts = []  # (reason, events, age_ms, cpu_us)
        self.rest = 0.0

    def play(self, per_s, seconds, step_ms=1.0):
        for _ in range(int(seconds * 1000 / step_ms)):
            self.now_ns += int(step_ms * MS)
            self.rest += per_s * step_ms / 1000
            events, self.rest = int(self.rest), self.rest % 1
            if events:
                if not self.policy.events_open:
                    self.begun_ns = self.now_ns
                self.policy.pushed(events, self.now_ns)
            self.look()
        return self

    def look(self):
        open_events = self.policy.events_open
        rows = int(open_events * self.share)
        reason = self.policy.reason(rows, open_events * 60, self.now_ns)
        if reason is None:
            return
        cpu_ns = int(FIXED_NS + open_events * self.per_event_ns)
        age_ms = (self.now_ns - self.begun_ns) / MS
        self.cuts.append((reason, open_events, age_ms, cpu_ns / 1000))
        self.policy.cut(self.now_ns)
        self.policy.finished([rows], cpu_ns)

    def last(self, number=5):
        return self.cuts[-number:]


def test_a_quiet_market_is_cut_once_a_second_and_no_event_waits_longer():
    cuts = Market().play(500, 20).cuts
    assert len(cuts) == pytest.approx(20, abs=1)
    assert all(reason == "age" and age_ms <= 1_001 for reason, _, age_ms, _ in cuts)


def test_a_busy_market_is_cut_as_soon_as_the_rows_are_worth_an_insert():
    for reason, events, age_ms, _ in Market().play(60_000, 10).last():
        assert reason == "age"
        assert 400 < age_ms < 560
        assert events * 0.7 == pytest.approx(20_000, rel=0.15)


def test_a_very_busy_market_is_cut_at_the_shortest_interval_and_blocks_grow():
    for _, events, age_ms, _ in Market().play(400_000, 5).last():
        assert age_ms == pytest.approx(200, abs=2)
        assert 50_000 < events * 0.7 < 60_000


def test_at_the_highest_rates_blocks_are_full_and_no_larger():
    for reason, events, _, _ in Market(per_event_ns=1.0).play(2_000_000, 3).last():
        assert reason == "rows"
        assert events * 0.7 == pytest.approx(100_000, rel=0.03)


def test_a_cut_never_costs_more_than_its_budget_once_costs_are_known():
    """Compression makes an event dear: blocks shrink, and stay."""
    market = Market(per_event_ns=70.0).play(300_000, 5)
    assert market.cuts[0][3] > 2_000  # nothing was known
    for reason, _, _, cpu_us in market.last(20):
        assert reason == "cpu"
        assert cpu_us <= 2_000


def test_small_cuts_are_not_taken_for_dear_events():
    """A cut's fixed cost over few events must not keep blocks small when the market opens."""
    market = Market().play(100, 10)
    market.play(200_000, 5)
    assert all(events * 0.7 > 19_000 for _, events, _, _ in market.last(5))


def test_the_interval_follows_the_market_within_seconds():
    market = Market().play(200_000, 5)
    assert market.policy.age_ms == 200
    market.play(500, 6)
    assert market.policy.age_ms == 1_000
    market.play(200_000, 3)
    assert market.policy.age_ms == 200


def test_while_nothing_can_be_sent_only_full_blocks_are_cut():
    market = Market()
    market.policy.full_blocks_only = True
    market.play(20_000, 30)
    assert {reason for reason, _, _, _ in market.cuts} == {"rows"}
    market.policy.full_blocks_only = False
    market.play(20_000, 0.001)
    assert market.cuts[-1][0] == "age"


@given(
    st.lists(st.tuples(st.integers(0, 3_000_000), st.floats(0.05, 1.5)), min_size=1, max_size=6),
    st.floats(0.1, 200),
)
def test_whatever_the_market_does_nothing_waits_too_long_or_grows_too_large(script, per_event_ns):
    market = Market(per_event_ns=per_event_ns)
    for per_s, seconds in script:
        market.play(per_s, seconds, step_ms=10)
    for _, events, age_ms, _ in market.cuts:
        assert age_ms <= 1_010
        assert events * 0.7 <= 100_000 + 3_000_000 * 0.01
    assert LIMITS.age_ms_min <= market.policy.age_ms <= LIMITS.age_ms_max
