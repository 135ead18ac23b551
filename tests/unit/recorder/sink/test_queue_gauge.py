"""A queue's figures: its high water for ever, and the peak since somebody looked."""

from __future__ import annotations

from recorder.sink.queue_gauge import QueueGauge


def test_a_peak_is_of_the_time_since_the_last_look_and_begins_with_what_waits() -> None:
    gauge = QueueGauge()
    gauge.entered(5)
    gauge.left(3)
    assert gauge.take_peak() == 5
    assert gauge.take_peak() == 2
    gauge.entered()
    gauge.left(3)
    assert gauge.take_peak() == 3
    assert gauge.take_peak() == 0
    assert gauge.reading(None, 0).high_water == 5
