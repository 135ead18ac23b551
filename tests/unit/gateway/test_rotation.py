"""When connections are replaced, and when the old one may go."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.rotation import Handover, rotate_at_ns, rotation_seconds
from gateway.venue import Stream

SECOND = 1_000_000_000
STREAMS = tuple(
    Stream(f"{name}@trade", "trade", name.upper(), "s", (f"trade.v.{name.upper()}",))
    for name in ("a", "b", "c")
)
NOW = 100 * SECOND


def handover(activity: dict[str, int]) -> Handover:
    made = Handover(
        STREAMS, activity, NOW, recent_seconds=10.0, overlap_seconds=2.0, max_seconds=30.0
    )
    made.begin(NOW)
    return made


def test_rotation_leaves_a_margin_before_the_venue_cuts():
    assert rotation_seconds(86_400.0, 600.0, None) == 85_800.0
    assert rotation_seconds(86_400.0, 600.0, 5.0) == 5.0
    assert rotation_seconds(None, 600.0, None) is None
    assert rotation_seconds(60.0, 600.0, None) == 30.0  # a margin beyond the lifetime: half of it


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_only_brings_a_rotation_forward(fraction):
    at = rotate_at_ns(NOW, 1000.0, fraction)
    assert at is not None
    assert NOW + 900 * SECOND <= at <= NOW + 1000 * SECOND


def test_no_lifetime_no_rotation():
    assert rotate_at_ns(NOW, None, 0.5) is None


def test_only_streams_alive_on_the_old_connection_are_owed():
    made = handover({"trade.v.A": 95 * SECOND, "trade.v.B": 80 * SECOND})
    assert made.owed == {"a@trade"}


def test_old_connection_stays_until_all_is_delivered_and_the_overlap_is_over():
    made = handover({"trade.v.A": NOW, "trade.v.B": NOW})
    assert made.close_at_ns() == NOW + 30 * SECOND
    assert made.delivered("a@trade", NOW + SECOND) is False
    assert made.delivered("a@trade", NOW + SECOND) is False
    assert made.delivered(None, NOW + SECOND) is False
    assert made.delivered("b@trade", NOW + 3 * SECOND) is True
    assert made.close_at_ns() == NOW + 5 * SECOND


def test_bound_ends_a_handover_that_never_completes():
    made = handover({"trade.v.A": NOW})
    made.delivered("a@trade", NOW + 29 * SECOND)
    assert made.close_at_ns() == NOW + 30 * SECOND


def test_nothing_alive_means_only_the_overlap():
    assert handover({}).close_at_ns() == NOW + 2 * SECOND


def test_bound_counts_from_the_subscription_not_from_the_decision():
    made = Handover(
        STREAMS, {"trade.v.A": NOW}, NOW, recent_seconds=10, overlap_seconds=2, max_seconds=30
    )
    made.begin(NOW + 8 * SECOND)
    assert made.close_at_ns() == NOW + 38 * SECOND


@given(st.lists(st.sampled_from([*(s.name for s in STREAMS), "x@trade"]), max_size=20))
def test_owed_only_shrinks_and_completion_is_exact(names):
    made = handover({topic: NOW for stream in STREAMS for topic in stream.topics})
    for step, name in enumerate(names):
        before = made.owed
        done = made.delivered(name, NOW + step)
        assert made.owed == before - {name}
        assert done == (not made.owed)
