"""The recorder's bounded queues in the order of the flow, each with the same five figures.

frames: appended, not yet in the file; batches: published, not yet with the encoder; blocks:
planned, in memory; in_flight: inserts under way. It reads, it changes nothing.
"""

from __future__ import annotations

from typing import Final

from recorder.raw.watermark import Watermark
from recorder.sink.queue_gauge import QueueReading
from tickd.app.storage import Storage
from tickd.app.tap import Tap
from tickd.ports import Clock

__all__ = ["RecorderQueues"]


class RecorderQueues:
    """Reads the queues of one daemon."""

    def __init__(self, *, tap: Tap, watermark: Watermark, storage: Storage, clock: Clock) -> None:
        self._tap: Final = tap
        self._watermark: Final = watermark
        self._storage: Final = storage
        self._clock: Final = clock
        self._batches_high_water = 0

    def read(self) -> dict[str, QueueReading]:
        """One look at each queue."""
        delivery = self._storage.sink.delivery
        now_ns = self._clock.mono_ns()
        blocks = delivery.waiting
        return {
            "frames": self._watermark.queue(self._tap.pauses_total),
            "batches": self._batches(),
            "blocks": blocks.blocks.reading(blocks.oldest_ns, now_ns),
            "in_flight": delivery.in_flight.reading(delivery.in_flight_since_ns, now_ns),
        }

    def take_peaks(self) -> dict[str, int]:
        """The most that waited in each since the last call; one reader, the metrics.

        Of the subscription the bus keeps it: until its own metrics are read, later in a scrape.
        """
        delivery = self._storage.sink.delivery
        return {
            "frames": self._watermark.take_peak(),
            "batches": max(self._storage.sink.held.take_peak(), self._storage.subscription_peak()),
            "blocks": delivery.waiting.blocks.take_peak(),
            "in_flight": delivery.in_flight.take_peak(),
        }

    def _batches(self) -> QueueReading:
        """The subscription's records and the batches held back while a distance is closed.

        What the subscription lets go is no loss: the raw log or repair brings it again.
        """
        held = self._storage.sink.held
        rows = self._storage.subscription_lag()
        depth = held.depth + sum(row.depth for row in rows)
        high = max((row.high_water for row in rows), default=0)
        self._batches_high_water = max(self._batches_high_water, held.high_water, high)
        return QueueReading(
            depth=depth,
            high_water=self._batches_high_water,
            oldest_age_s=max((row.oldest_age_s for row in rows), default=0.0),
            enqueue_timeouts=held.enqueue_timeouts,
            dropped=held.dropped,
        )
