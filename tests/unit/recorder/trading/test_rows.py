"""Control records as rows: one each, exact, the same every time; nonsense is refused with words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.trading.rows import (
    TRADING_TABLES,
    BadRecordError,
    ControlRecord,
    kind_of,
    row_of,
    table_of,
)

RISK = {"kind": "risk", "action": "new", "verdict": "approved"}
FILL = {"kind": "execution", "exec_id": "e", "price": 1, "size": 2}


def row(fields: dict[str, Any], *, frame_no: int = 5, recv_ns: int = 1) -> dict[str, Any]:
    return row_of(ControlRecord(frame_no, recv_ns, json.dumps(fields).encode()), node=3).values


def test_a_row_has_the_number_and_the_time_of_its_record() -> None:
    payload = json.dumps(RISK).encode()
    made = row_of(ControlRecord(7, 86_400 * 10**9 + 1, payload), node=3)
    assert (made.seq, made.day) == (7 << 16, 1)
    assert made.values["node"] == 3
    assert made.values["seq"] == str(7 << 16)
    assert made.values["ts_recv"] == "1970-01-02 00:00:00.000000001"


def test_numbers_beyond_a_float_stay_as_they_are() -> None:
    big = (1 << 63) - 3
    made = row(
        RISK
        | {"price": -big, "size": big, "number": (1 << 64) - 2, "vector": 1 << 63}
        | {"figures": {"notional": -(1 << 100), "left_out": None, "a": 1}}
    )
    assert (made["price"], made["size"]) == (str(-big), str(big))
    assert (made["number"], made["vector"]) == (str((1 << 64) - 2), str(1 << 63))
    assert made["figures"] == {"a": "1", "notional": str(-(1 << 100))}


def test_what_a_record_does_not_say_is_said_by_the_sentinels_of_all_tables() -> None:
    made = row({"kind": "order", "state": "sent"})
    undefined = str((1 << 63) - 1)
    prices = ("price", "size", "order_price", "order_size", "cum_size")
    assert {made[name] for name in prices} == {undefined}
    assert made["number"] == made["client_id"] == str((1 << 64) - 1)
    assert (made["side"], made["instrument"], made["ref"]) == ("N", "0", "")


def test_the_word_of_older_logs_is_the_state_of_today() -> None:
    assert row({"kind": "order", "state": "refused"})["state"] == "rejected"


def test_an_audit_keeps_the_whole_record() -> None:
    fields = {"kind": "audit", "action": "arm", "operator": "Zoë", "token": 5, "key": None}
    made = row(fields)
    assert json.loads(made["record"]) == fields
    assert (made["action"], made["operator"], made["key"]) == ("arm", "Zoë", "")


def test_positions_are_texts_whatever_they_are() -> None:
    positions = [{"symbol": "A", "size": -5, "average": None}, {"symbol": "B", "size": 1 << 70}]
    made = row({"kind": "account", "account": "a", "positions": positions})
    assert made["positions"] == [
        {"symbol": "A", "size": "-5"},
        {"symbol": "B", "size": str(1 << 70)},
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"kind": "risk", "action": "new"}, "verdict"),
        (RISK | {"price": 1 << 63}, "9223372036854775808 is not within"),
        (RISK | {"price": 1.5}, "price"),
        (RISK | {"size": True}, "size"),
        (RISK | {"side": "X"}, "side"),
        (RISK | {"number": -1}, "-1 is not within"),
        (RISK | {"instrument": 1 << 32}, "is not within"),
        (RISK | {"figures": {"x": 1 << 127}}, "is not within"),
        (RISK | {"strategy": "s" * 5_000}, "strategy"),
        (FILL | {"price": None}, "price"),
        ({"kind": "account"}, "account"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_frame(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadRecordError, match=f"frame 5: .*{fault}"):
        row(fields)


@pytest.mark.parametrize("ts_event_ns", [None, -5, 0, 1 << 70])
def test_a_time_that_no_column_holds_is_no_time(ts_event_ns: int | None) -> None:
    made = row(FILL | {"ts_event_ns": ts_event_ns})
    assert made["ts_event"] == "1970-01-01 00:00:00.000000000"


def test_only_these_kinds_have_tables() -> None:
    assert {table_of(b'{"kind":"%s"}' % kind.encode()) for kind in TRADING_TABLES} == set(
        TRADING_TABLES.values()
    )
    assert [table_of(text) for text in (b'{"kind":"clock"}', b"{}", b"no", b"\xff", b"[]")] == (
        [None] * 5
    )
    assert kind_of(b'{"number":1,"kind":"risk"}') == "risk"


@given(st.sampled_from(sorted(TRADING_TABLES)), st.binary(max_size=60))
def test_no_bytes_get_through_as_anything_but_a_row_or_a_refusal(kind: str, rest: bytes) -> None:
    payload = b'{"kind":"%s","action":"a","verdict":"b","state":"c",%s}' % (kind.encode(), rest)
    record = ControlRecord(1, 1, payload)
    if table_of(payload) is None:
        return
    try:
        made = row_of(record, node=1)
    except BadRecordError:
        return
    assert made == row_of(record, node=1)
