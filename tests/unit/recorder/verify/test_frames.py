"""The account of frame numbers and of frames: every part, and that the parts add up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recorder.raw.records import heads_of
from recorder.verify.frames import FrameAccount
from recorder.verify.report import Kind

NO_SEQS = np.empty(0, np.uint64)


def record(frame_no, kind="W", payload=b"{}"):
    head = f"{frame_no} {10**18 + frame_no} {frame_no} 1 {kind} {len(payload)} "
    return head.encode() + payload + b"\n"


def gap(frame_no, first, last, cause="restart"):
    said = {"kind": "gap", "cause": cause, "from_frame": first, "to_frame": last}
    return record(frame_no, "C", json.dumps(said).encode())


def seqs(*frames):
    return np.array([frame << 16 for frame in frames], np.uint64)


def add(account, records, rows=NO_SEQS, *, events=None, refused=(), **counters):
    if refused:
        counters = {"refused": len(refused), **counters}
    heads = heads_of(records)
    account.add(
        memoryview(records),
        heads,
        rows=[rows],
        events=rows if events is None else events,
        counters=counters,
        refused=refused,
    )


def finished(account):
    totals, findings = account.finish()
    parts = ("recorded", "announced", "quarantined", "removed", "missing")
    assert totals.all == sum(getattr(totals, part) for part in parts)
    frames = account.frames
    assert frames.all == frames.with_rows + sum(frames.without_rows.values())
    return totals, findings


def test_consecutive_records_are_all_there_is():
    account = FrameAccount()
    add(account, record(5) + record(6), seqs(5, 6))
    add(account, record(7), seqs(7))
    totals, findings = finished(account)
    assert (totals.first, totals.last, totals.recorded, findings) == (5, 7, 3, [])


@pytest.mark.parametrize("apart", [True, False])
def test_a_hole_without_a_gap_is_missing(apart):
    account = FrameAccount()
    if apart:
        add(account, record(1), seqs(1))
        add(account, record(5), seqs(5))
    else:
        add(account, record(1) + record(5), seqs(1, 5))
    totals, (finding,) = finished(account)
    assert (finding.kind, finding.count) == (Kind.FRAMES_MISSING, 3)
    assert (finding.seq_from >> 16, finding.seq_to >> 16) == (2, 4)
    assert totals.missing == 3


def test_a_gap_record_explains_exactly_its_numbers():
    account = FrameAccount()
    add(account, record(1) + gap(100, 2, 98), seqs(1, 100))
    totals, (finding,) = finished(account)
    assert (totals.announced, totals.missing) == (97, 1)
    assert finding.seq_from >> 16 == 99


def test_a_large_payload_takes_several_numbers():
    account = FrameAccount()
    large = b"x" * (3 * 512 * 1024)
    add(account, record(1, "W", large) + record(5), seqs(1, 3, 5))
    totals, findings = finished(account)
    assert (totals.recorded, findings) == (5, [])
    assert account.frames.with_rows == 2


def test_what_is_known_of_absent_numbers_is_told_apart():
    account = FrameAccount(begin=1)
    account.explain(1, 10, "removed")
    account.explain(21, 30, "missing")
    account.explain(41, 41, "quarantined")
    account.explain(51, 60, "damaged")
    for first in (11, 31, 42):
        add(
            account,
            b"".join(record(n) for n in range(first, first + 9)),
            seqs(*range(first, first + 9)),
        )
    add(account, record(61), seqs(61))
    totals, findings = finished(account)
    assert (totals.removed, totals.quarantined) == (10, 1)
    assert [(f.seq_from >> 16, f.count) for f in findings] == [(20, 1), (40, 1)]
    assert totals.missing == 10 + 10 + 2


def test_numbers_behind_the_end_that_were_given_out_count():
    account = FrameAccount()
    account.explain(3, 9, "removed")
    add(account, record(1) + record(2), seqs(1, 2))
    totals, findings = finished(account)
    assert (totals.last, totals.removed, findings) == (9, 7, [])


def test_what_was_lost_before_the_first_record_counts():
    account = FrameAccount(begin=1)
    add(account, record(4), seqs(4))
    totals, (finding,) = finished(account)
    assert (totals.first, finding.count, totals.missing) == (1, 3, 3)


def test_frames_without_rows_are_classified():
    account = FrameAccount()
    kinds = [
        record(1, "K"),
        record(2, "C", b'{"kind":"connect"}'),
        record(3),
        record(4),
        record(5, "R"),
        record(6),
        record(7),
        record(8),
    ]
    add(
        account,
        b"".join(kinds),
        seqs(8),
        refused=[(6, "malformed")],
        acks=1,
        rest_ignored=1,
        duplicates=3,
    )
    assert account.frames.without_rows == {
        "checkpoint": 1,
        "control.connect": 1,
        "refused.malformed": 1,
        "acks": 1,
        "rest_ignored": 1,
        "duplicates": 2,
    }
    assert finished(account)[1] == []


def test_more_refusals_than_the_decoder_lists_are_counted():
    account = FrameAccount()
    add(account, record(1) + record(2) + record(3), refused=[(1, "checksum")])
    assert account.frames.without_rows["unexplained"] == 2
    account = FrameAccount()
    records = record(1) + record(2) + record(3)
    account.add(
        memoryview(records),
        heads_of(records),
        rows=[],
        events=NO_SEQS,
        counters={"refused": 3},
        refused=[(1, "checksum")],
    )
    assert account.frames.without_rows == {"refused.checksum": 1, "refused.not_listed": 2}


def test_a_frame_without_rows_and_without_a_reason_is_named():
    account = FrameAccount()
    add(account, record(1) + record(2) + record(3), seqs(1, 3))
    _, (finding,) = finished(account)
    assert (finding.kind, finding.count) == (Kind.FRAMES_UNEXPLAINED, 1)
    assert (finding.seq_from >> 16, finding.seq_to >> 16) == (1, 3)


def test_reasons_of_earlier_stretches_do_not_explain_later_frames():
    account = FrameAccount()
    add(account, record(1), acks=1)
    add(account, record(2), acks=1)
    _, (finding,) = finished(account)
    assert finding.seq_from >> 16 == 2


def test_a_reason_for_a_frame_that_has_rows_is_named():
    account = FrameAccount()
    add(account, record(1) + record(2, "C", b'{"kind":"stop"}'), seqs(1), acks=1)
    _, (finding,) = account.finish()
    assert finding.kind is Kind.FRAMES_UNEXPLAINED


def test_events_that_no_table_holds_are_a_class():
    account = FrameAccount()
    add(account, record(1) + record(2), seqs(1), events=seqs(1, 2))
    assert account.frames.without_rows == {"kind_without_table": 1}
    assert finished(account)[1] == []
