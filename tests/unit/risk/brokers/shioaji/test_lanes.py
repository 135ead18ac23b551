"""What waits for the order thread: cancels first, bounded, withdrawn before it leaves."""

from risk.brokers.shioaji.lanes import CancelJob, ChangeJob, Lanes, PlaceJob
from risk.brokers.shioaji.requests import Change
from tests.harness.order_requests import approved


def place(ref):
    return PlaceJob(approved(), ref, None, None, 0)


def test_cancels_overtake_orders_and_each_lane_keeps_its_order():
    lanes = Lanes(orders_max=8)
    jobs = [place("A"), place("B"), CancelJob("C", "1", None, 0), CancelJob("D", "2", None, 0)]
    assert all(lanes.put(job) for job in jobs)
    assert [lanes.take().ref for _ in range(4)] == ["C", "D", "A", "B"]


def test_a_cancel_that_has_to_wait_stays_the_first():
    lanes = Lanes(orders_max=8)
    first, second = CancelJob("C", "1", None, 0), CancelJob("D", "2", None, 0)
    lanes.put(first)
    lanes.put(second)
    lanes.back(lanes.take())
    assert lanes.take() is first


def test_orders_are_bounded_and_cancels_always_find_room():
    lanes = Lanes(orders_max=2)
    assert [lanes.put(place(ref)) for ref in "ABC"] == [True, True, False]
    assert all(lanes.put(CancelJob("X", "1", None, 0)) for _ in range(10))
    assert lanes.depth == 12


def test_what_is_withdrawn_or_dropped_never_comes_out():
    lanes = Lanes(orders_max=8)
    change = ChangeJob(approved(), "A", "1", None, Change(1.0, None), 0)
    for job in (place("A"), place("B"), change):
        lanes.put(job)
    assert [job.ref for job in lanes.withdraw("A")] == ["A", "A"]
    assert [job.ref for job in lanes.drop_orders()] == ["B"]
    assert lanes.depth == 0


def test_closed_lanes_give_the_cancels_out_and_then_end():
    lanes = Lanes(orders_max=8)
    lanes.put(place("A"))
    lanes.put(CancelJob("C", "1", None, 0))
    assert [job.ref for job in lanes.close()] == ["A"]
    assert not lanes.put(place("B"))
    assert lanes.take().ref == "C"
    assert lanes.take() is None
