"""The metrics of indicators in the flow: what they said, what became signals and rows.

Everything is read on scrape; nothing is counted here. What the queue to ClickHouse drops is among
the metrics of the bus (subscription `signals`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tickd.app.signals import Signals
from tickd.telemetry.metrics import Metrics, Values

__all__ = ["declare_signals"]

# Field of `Signals.draw` -> name and meaning.
_COUNTED: Final = {
    "values": ("strategy_runner_values", "Values that indicators in the flow said, NaN too."),
    "signals": ("strategy_runner_signals", "Those that were published."),
    "undefined": (
        "strategy_runner_undefined_events",
        "Events that fed no indicator because nobody defined their instrument.",
    ),
    "stored": ("recorder_signals_rows", "Signals that ClickHouse took."),
    "lost": ("recorder_signals_lost_rows", "Signals that ClickHouse refused or the end cut off."),
}


def declare_signals(metrics: Metrics, signals: Signals) -> None:
    """Declare everything that indicators show; nothing where none is configured."""
    if not signals.draw()["indicators"]:
        return

    def counted(field: str) -> Callable[[], Values]:
        return lambda: int(signals.draw()[field])

    for field, (name, text) in _COUNTED.items():
        metrics.read_counter(f"tickd_{name}_total", text, counted(field))
