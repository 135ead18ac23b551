"""The queue between an SDK's threads and the loop: order, one wake-up, visible losses."""

import threading

from gateway.callbacks.queue import CallbackQueue, Lost
from tickd.testing.clock import ManualClock


class Waker:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


def make(records_max=100):
    waker = Waker()
    clock = ManualClock()
    return CallbackQueue(clock, records_max=records_max, wake=waker), waker, clock


def test_items_come_out_in_order_with_the_stamps_of_their_moment():
    queue, _, clock = make()
    queue.put("a")
    first = (clock.wall_ns(), clock.mono_ns())
    clock.move(500_000_000)
    queue.put("b")
    received = queue.take(10)
    assert [item for item, _, _ in received] == ["a", "b"]
    assert received[0][1:] == first
    assert received[1][2] - received[0][2] == 500_000_000


def test_one_wake_up_per_burst():
    queue, waker, _ = make()
    for number in range(50):
        queue.put(number)
    assert waker.count == 1
    queue.take(50)
    queue.put("while the loop looks")
    assert waker.count == 1
    assert not queue.rest()  # the loop must look again: nobody wakes it
    queue.take(1)
    assert queue.rest()
    queue.put("later")
    assert waker.count == 2


def test_what_a_full_queue_lets_go_leaves_a_mark_where_it_happened():
    queue, _, _ = make(records_max=3)
    for number in range(8):
        queue.put(number)
    assert queue.dropped == 5
    queue.take(2)
    queue.put("after")
    queue.put("full again")
    items = [item for item, _, _ in queue.take(10)]
    assert items[0] == 2
    assert isinstance(items[1], Lost)
    assert items[1].count == 5
    assert items[2] == "after"
    assert isinstance(items[3], Lost)
    assert items[3].count == 1
    assert queue.depth == 0


def test_the_age_is_that_of_the_oldest():
    queue, _, clock = make()
    assert queue.oldest_mono_ns is None
    queue.put("a")
    began = clock.mono_ns()
    clock.move(3_000_000_000)
    queue.put("b")
    assert queue.oldest_mono_ns == began


def test_threads_lose_nothing_and_wake_at_least_once_after_every_rest():
    """Method: four threads put, this one takes and rests; a missed wake-up would strand items."""
    woken = threading.Event()
    queue = CallbackQueue(ManualClock(), records_max=1 << 20, wake=woken.set)
    each = 5_000

    def put(start):
        for number in range(start, start + each):
            queue.put(number)

    threads = [threading.Thread(target=put, args=(at * each,)) for at in range(4)]
    for thread in threads:
        thread.start()
    seen = []
    while len(seen) < 4 * each:
        assert woken.wait(10)
        woken.clear()
        while True:
            seen += [item for item, _, _ in queue.take(64)]
            if not queue.depth and queue.rest():
                break
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(4 * each))
    for at in range(4):  # the order of each thread is kept
        mine = [number for number in seen if at * each <= number < (at + 1) * each]
        assert mine == sorted(mine)
