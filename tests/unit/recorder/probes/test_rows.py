"""What two readings of a growing histogram say about the time between them."""

from __future__ import annotations

import datetime as dt

from recorder.probes.rows import Key, Probes, Reading, Row

BUS, LOOP = Key("recv_to_bus"), Key("loop_lag")


def taken(probes: Probes, *readings: Reading, at_ms: int) -> list[Row]:
    return probes.rows(readings, wall_ns=at_ms * 1_000_000, mono_ns=(at_ms + 1) * 1_000_000)


def test_a_row_speaks_for_its_interval_alone() -> None:
    probes = Probes(3)
    taken(probes, Reading(BUS, [(10, 5), (900, 1)], 880), at_ms=0)
    [row] = taken(probes, Reading(BUS, [(10, 5), (20, 2), (900, 1)], 880), at_ms=250)
    assert row == Row(
        dt.datetime(1970, 1, 1, 0, 0, 0, 250_000, tzinfo=dt.UTC),
        *(3, "recv_to_bus", "", "", 250),
        *(2, 20, 20, 20, 20),
    )


def test_where_nothing_happened_there_is_no_row() -> None:
    probes = Probes(1)
    readings = (Reading(BUS, [(10, 5)]), Reading(LOOP, []))
    assert [row.stage for row in taken(probes, *readings, at_ms=0)] == ["recv_to_bus"]
    assert taken(probes, *readings, at_ms=10) == []


def test_quantiles_are_never_below_the_truth() -> None:
    counts = [(10, 989), (20, 10), (30, 1)]
    [row] = taken(Probes(1), Reading(BUS, counts), at_ms=0)
    assert row[-5:] == (1_000, 10, 20, 20, 30)
    [row] = taken(Probes(1), Reading(BUS, [(10, 998), (20, 2)]), at_ms=0)
    assert row[-5:] == (1_000, 10, 10, 20, 20)


def test_the_largest_ever_bounds_what_is_told() -> None:
    [row] = taken(Probes(1), Reading(BUS, [(10, 1), (1 << 62, 1)], 77), at_ms=0)
    assert row[-5:] == (2, 10, 77, 77, 77)


def test_a_histogram_that_began_anew_is_taken_as_it_is() -> None:
    probes = Probes(1)
    taken(probes, Reading(BUS, [(10, 5), (20, 5)]), at_ms=0)
    [row] = taken(probes, Reading(BUS, [(10, 4), (20, 7)]), at_ms=10)
    assert row.measured == 11


def test_keys_do_not_mix() -> None:
    probes = Probes(1)
    by_channel = Key("recv_to_bus", "okx", "trade")
    taken(probes, Reading(BUS, [(10, 5)]), Reading(by_channel, [(10, 3)]), at_ms=0)
    rows = taken(probes, Reading(BUS, [(10, 9)]), Reading(by_channel, [(10, 4)]), at_ms=10)
    assert [(row.venue, row.channel, row.measured) for row in rows] == [
        ("", "", 4),
        ("okx", "trade", 1),
    ]
