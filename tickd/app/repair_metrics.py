"""The metrics of repair: what was compared, what was wrong, what is left.

Everything is read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from recorder.repair.repair import Repair
from tickd.telemetry.metrics import Metrics, Values

_PREFIX: Final = "tickd_recorder_repair"


def declare_repair(metrics: Metrics, repair: Repair) -> None:
    """Declare everything that repair shows."""
    counted = repair.counters
    counters: dict[str, tuple[str, Callable[[], Values]]] = {
        "steps": ("Stretches of the raw log compared.", lambda: counted.stretches),
        "compared_rows": ("Rows compared.", lambda: counted.rows_compared),
        "inserted_rows": ("Rows inserted.", lambda: counted.rows_inserted),
        "differing_steps": (
            "Stretches of a table that were not as the raw log has them.",
            lambda: counted.stretches_differing,
        ),
        "compared_bar_spans": (
            "Hours whose bars were compared with the trades.",
            lambda: repair.bars.hours_compared,
        ),
        "made_bar_spans": (
            "Hours of an OHLCV table whose bars were made again.",
            lambda: repair.bars.hours_made,
        ),
        "refused_blocks": ("Blocks that ClickHouse refused.", lambda: counted.blocks_refused),
        "faults": ("Attempts that failed.", lambda: repair.faults),
    }
    for name, (text, read) in counters.items():
        metrics.read_counter(f"{_PREFIX}_{name}_total", text, read)
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "state": ("1 while it works.", lambda: int(repair.working)),
        "waiting": (
            "Ranges that wait: frames that are not here, or blocks to be sent first.",
            lambda: len(counted.holes),
        ),
        "left_frames": ("Frames still to be compared.", lambda: repair.frames_left),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"{_PREFIX}_{name}", text, read)
