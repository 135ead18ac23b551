"""The metrics of the daemon as a whole: build, configuration in force, reloads, state, halts.

Everything is read on scrape; nothing is counted here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, Final

from tickd.app.config import Config
from tickd.app.halting import Halting
from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.app.planning import Planning
from tickd.config import dump
from tickd.native import BUILD_PROFILE, VERSION, xxh3_hex
from tickd.telemetry.metrics import Metrics, Values

__all__ = ["declare_daemon"]

_STATES: Final = ("starting", "recording", "degraded", "stopping")


def declare_daemon(metrics: Metrics, parts: Parts, picture: Picture) -> None:
    """Declare everything; it is shown by every daemon, whatever it is configured to do."""
    metrics.read_gauge(
        "tickd_build_info",
        "Version and build of this daemon, and its Python.",
        lambda: {(VERSION, BUILD_PROFILE, platform.python_version()): 1},
        ("version", "build", "python"),
    )
    state = metrics.once_per_scrape(picture.state)
    metrics.read_gauge(
        "tickd_app_state",
        "1 for the state that the daemon is in.",
        lambda: {(name,): int(name == state()) for name in _STATES},
        ("state",),
    )
    _declare_config(metrics, parts.planning, node=str(parts.config.node.id))
    _declare_halts(metrics, parts.halting)


def _declare_config(metrics: Metrics, planning: Planning, *, node: str) -> None:
    hashed: list[tuple[Config, str]] = []

    def hash_of_config() -> str:
        """Of the configuration in force; made anew when a reload has changed it."""
        config = planning.config
        if not hashed or hashed[0][0] is not config:
            hashed[:] = [(config, xxh3_hex(dump(config).encode()))]
        return hashed[0][1]

    metrics.read_gauge(
        "tickd_config_info",
        "Node, and hash of the configuration in force.",
        lambda: {(node, hash_of_config()): 1},
        ("node", "hash"),
    )
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "reload_success_state": (
            "1: the file was taken when it was read last; 0: refused, the one before is in force.",
            lambda: int(planning.refused is None),
        ),
        "reload_success_timestamp_seconds": (
            "When a file was taken last, at the start too.",
            lambda: planning.taken_ns / 1e9,
        ),
        "reload_timestamp_seconds": (
            "When the file was read last, taken or not.",
            lambda: planning.read_ns / 1e9,
        ),
        "reload_waiting": (
            "Keys of the file that differ from what runs and wait for a restart.",
            lambda: len(planning.waiting),
        ),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"tickd_config_{name}", text, read)


def _declare_halts(metrics: Metrics, halting: Halting) -> None:
    """The kill switch, which every daemon has; scopes are shown where there are accounts."""
    drawn = metrics.once_per_scrape(halting.draw)

    def armed(drawn: dict[str, Any]) -> bool:
        return bool(drawn["state"] == "armed")

    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "armed_state": ("1 while orders may leave.", lambda: int(armed(drawn()))),
        "halt_timestamp_seconds": (
            "Since when everything is halted, or only reduces; 0: armed.",
            lambda: 0.0 if armed(drawn()) else drawn()["since_ns"] / 1e9,
        ),
        "latch_fault_state": (
            "1 while the file that keeps a halt over restarts cannot be written.",
            lambda: int(drawn()["latch"]["fault"] is not None),
        ),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"tickd_risk_{name}", text, read)
    metrics.read_counter(
        "tickd_risk_trips_total",
        "Times that everything was halted, by signal, command or rule.",
        lambda: drawn()["trips"],
    )
    metrics.read_counter(
        "tickd_risk_panic_runs_total",
        "Times that nothing was cancelled in time and the last resort was started.",
        lambda: drawn()["latch"]["panic_runs"],
    )
