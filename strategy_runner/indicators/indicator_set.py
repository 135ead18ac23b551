"""Many indicators advanced in one native pass over a batch, in the order of the node.

For every topic that an indicator's patterns select there is one copy of it. Messages are taken by
`seq` and count when their last record has come, so values do not depend on how the stream was cut
into batches. It reads native batches and is native itself: there is no numpy one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np
import numpy.typing as npt

from strategy_runner.indicator_config import IndicatorConfig
from tickd import native
from tickd.errors import Action, TickdError
from tickd.native import EventBatch
from tickd.topics import Selection, Topic

__all__ = ["VALUE_ROW", "IndicatorSet"]

# One value: `indicator` is the place in the set; NaN: not ready, or the message was no use.
VALUE_ROW: Final = np.dtype(
    [
        ("seq", "<u8"),
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("value", "<f8"),
        ("instrument", "<u4"),
        ("indicator", "<u4"),
    ]
)


@final
class IndicatorSet:
    """The configured indicators of a stream; feed it every batch once, in order.

    Args: `topic_name`, `intern_topic`: the decoder's, names of topics and numbers of new ones.
    Raises TickdError(FATAL): two definitions have one number.
    """

    def __init__(
        self,
        configs: Sequence[IndicatorConfig],
        *,
        topic_name: Callable[[int], str],
        intern_topic: Callable[[str], int],
    ) -> None:
        self.configs: Final = tuple(configs)
        self._wanted = [Selection(config.topics) for config in self.configs]
        self._topic_name = topic_name
        self._intern = intern_topic
        numbers = [config.number for config in self.configs]
        if len(set(numbers)) != len(numbers):
            raise TickdError(
                "two indicators have the same number",
                action=Action.FATAL,
                hint="give one of them another name",
            )
        specs = [
            (number, config.snapshot(), config.publish == "every")
            for number, config in zip(numbers, self.configs, strict=True)
        ]
        self._native = native.IndicatorSet(specs, self._resolve)

    def define(self, _instrument: int, definition: bytes) -> None:
        """Take an instrument definition (JSON), before a batch that uses it."""
        self._native.define(definition)

    def rows(self, batch: EventBatch) -> npt.NDArray[np.void]:
        """Feed a batch; return a row of `VALUE_ROW` per message and indicator, ordered by seq."""
        return np.frombuffer(self._native.rows(batch), VALUE_ROW)

    def signals(self, batch: EventBatch) -> EventBatch | None:
        """Feed a batch; return the SIGNAL events that it caused, grouped by topic."""
        return self._native.signals(batch)

    @property
    def undefined(self) -> int:
        """Events whose instrument nobody defined; they fed nothing."""
        return self._native.undefined

    @property
    def values_count(self) -> int:
        return self._native.values_count

    @property
    def signals_count(self) -> int:
        return self._native.signals_count

    def _resolve(self, number: int) -> tuple[int, str, list[int]]:
        """Who is fed by a topic, and where its signals go; asked once per topic."""
        topic = Topic.parse(self._topic_name(number))
        members = [place for place, wants in enumerate(self._wanted) if wants.matches(topic)]
        signals = self._intern(f"signal.{topic.venue}.{topic.symbol}") if members else 0
        return signals, topic.venue, members
