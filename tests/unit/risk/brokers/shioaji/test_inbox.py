"""From any thread to the loop: one wake per burst, bounded, and a loss is told."""

from risk.brokers.shioaji.inbox import Inbox, Lost, Placed, Told


def test_a_burst_wakes_the_loop_once_and_keeps_its_order():
    wakes = []
    inbox = Inbox(records_max=100, wake=lambda: wakes.append(1))
    for number in range(40):
        inbox.put(Told("SDEAL", number))
    assert len(wakes) == 1
    assert [item.message for item in inbox.take()] == list(range(32))
    assert not inbox.rest()
    assert len(inbox.take()) == 8
    assert inbox.take() == []
    assert inbox.rest()
    inbox.put(Told("SDEAL", 40))
    assert len(wakes) == 2


def test_a_full_inbox_tells_what_it_lost_behind_what_it_kept():
    inbox = Inbox(records_max=3, wake=lambda: None)
    for number in range(10):
        inbox.put(Told("SDEAL", number))
    inbox.put(Placed("A", None))  # of our own thread: always taken
    kept = inbox.take()
    assert [type(item) for item in kept] == [Told, Told, Told, Placed, Lost]
    assert kept[-1] == Lost(7)
    assert inbox.rest()
    assert inbox.dropped == 7
