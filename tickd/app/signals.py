"""Configured indicators in the flow: each burst is fed to them once, their signals follow it.

A handler of whole bursts: what it publishes runs after the batch that caused it. The set is fed in
the order of the node, so the same raw log gives the same signals, from the start of this life on:
indicators begin empty with every start of the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.indicators.indicator_set import IndicatorSet
from tickd.backend import Choice
from tickd.bus import Bus
from tickd.errors import Action, TickdError
from tickd.native import Decoder, EventBatch

__all__ = ["Signals", "require_native"]


class Signals:
    """The indicators of one daemon; without any it takes no bursts."""

    def __init__(self, configs: Sequence[IndicatorConfig], *, decoder: Decoder, bus: Bus) -> None:
        self._set: Final = IndicatorSet(
            configs, topic_name=decoder.topic_name, intern_topic=decoder.intern_topic
        )
        self._publish = bus.publish
        self.define = self._set.define
        if configs:
            bus.handle_bursts(self._take, name="indicators")

    def _take(self, batch: EventBatch) -> None:
        signals = self._set.signals(batch)
        if signals is not None:
            self._publish(signals)

    def draw(self) -> dict[str, Any]:
        """What the status shows."""
        return {
            "indicators": [config.name for config in self._set.configs],
            "values": self._set.values_count,
            "signals": self._set.signals_count,
            "undefined": self._set.undefined,
        }


def require_native(configs: Sequence[IndicatorConfig], backends: Sequence[Choice]) -> None:
    """Refuse indicators in the flow where the native ones were. Raises TickdError(FATAL)."""
    for choice in backends:
        if configs and choice.what == "indicators" and choice.name != "native":
            raise TickdError(
                f"[[indicators]] need the native backend, which is not used: {choice.reason}",
                action=Action.FATAL,
                hint="twins compute for notebooks and tests; take [[indicators]] out, or mend it",
            )
