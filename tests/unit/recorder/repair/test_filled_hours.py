"""Hours of fetched trades: looked at when their rows are stored, and once more when over."""

from __future__ import annotations

from recorder.repair.filled_hours import FilledHour, due, noted, unmade

HOUR = 3_600
OVER = 2 * HOUR + 600  # when hour 1 counts as over


def look(known, *, settled, progress=0, now_s=HOUR + 60.0):
    return due(known, settled=settled, progress=progress, now_s=now_s)


def test_an_hour_is_looked_at_when_its_rows_are_stored_and_again_when_it_is_over() -> None:
    known = noted((), {HOUR}, 50)
    assert look(known, settled=49) == (frozenset(), known)
    assert unmade(known) == {HOUR}
    first = look(known, settled=50)
    assert first.hours == {HOUR}
    assert unmade(first.left) == set()
    assert look(first.left, settled=60, now_s=OVER - 1.0) == (frozenset(), first.left)
    # What was planned by its end has to be stored first.
    waiting = look(first.left, settled=60, progress=80, now_s=float(OVER))
    assert waiting.hours == set()
    assert look(waiting.left, settled=79, now_s=OVER + 5.0) == (frozenset(), waiting.left)
    assert look(waiting.left, settled=80, now_s=OVER + 5.0) == ({HOUR}, ())


def test_an_hour_that_is_over_is_looked_at_once() -> None:
    assert look(noted((), {HOUR}, 50), settled=50, now_s=float(OVER)) == ({HOUR}, ())


def test_what_is_fetched_meanwhile_begins_anew() -> None:
    known = look(noted((), {HOUR, 2 * HOUR}, 50), settled=50).left
    again = noted(known, {HOUR}, 70)
    assert again == (
        FilledHour(hour=HOUR, seq=70),
        FilledHour(hour=2 * HOUR, seq=50, looked=True),
    )
    assert look(again, settled=69).left == again
    assert look(again, settled=70).hours == {HOUR}
