"""When ClickHouse may have forgotten a token, as far as a lane can know."""

from recorder.sink.lanes import Job, Lane
from recorder.sink.plan import PlannedBlock

SECOND_NS = 10**9


def job():
    planned = PlannedBlock(
        table="trades",
        node=1,
        day=20_000,
        seq_from=1,
        seq_to=9,
        seq_first=1,
        seq_last=9,
        rows=9,
        hash="00ff",
        encoder=1,
    )
    return Job(planned, None, put_ns=0)


def test_a_token_is_trusted_for_half_the_window_and_ten_minutes():
    lane, sent = Lane("trades"), job()
    lane.sent(sent, 0)
    assert not lane.forgotten(sent, 10**15), "the outcome is not open"
    sent.unknown = True
    assert not lane.forgotten(sent, 600 * SECOND_NS)
    assert lane.forgotten(sent, 600 * SECOND_NS + 1)
    lane.inserts += 4_999
    assert not lane.forgotten(sent, 0)
    lane.inserts += 1
    assert lane.forgotten(sent, 0)


def test_repeated_attempts_count_from_the_first_one():
    lane, sent = Lane("trades"), job()
    lane.sent(sent, 0)
    sent.unknown = True
    for attempt in range(1, 20):
        lane.sent(sent, attempt * 60 * SECOND_NS)
    assert lane.forgotten(sent, 601 * SECOND_NS)
    sent.unknown = False  # it was asked for, and was not there
    lane.sent(sent, 601 * SECOND_NS)
    sent.unknown = True
    assert not lane.forgotten(sent, 700 * SECOND_NS)


def test_a_lane_knows_what_waits_in_it():
    lane = Lane("trades")
    assert lane.oldest_ns is None
    lane.wait(Job(job().planned, None, put_ns=5))
    lane.wait(Job(job().planned, None, put_ns=7))
    lane.head = Job(job().planned, None, put_ns=3)
    assert lane.oldest_ns == 3
    lane.head = None
    assert lane.oldest_ns == 5
    first = lane.next()
    lane.wait_again(first)
    assert [waiting.put_ns for waiting in lane.live] == [5, 7]


def test_after_a_few_live_blocks_the_spool_has_its_turn():
    lane = Lane("trades")
    for _ in range(20):
        lane.wait(job())
    turns = []
    for _ in range(10):
        live = lane.prefers_live(spooled=True)
        turns.append(live)
        lane.live_in_a_row = lane.live_in_a_row + 1 if live else 0
    assert turns == [True, True, True, True, False] * 2
    lane.live_in_a_row = 100
    assert lane.prefers_live(spooled=False), "nothing else could be sent"
    lane.live.clear()
    assert not lane.prefers_live(spooled=True)
