"""The metrics of what listens, ends and is kept: HTTP, control socket, certificates, dumps.

Everything is read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from tickd.app.config import Config
from tickd.app.control import ControlServer
from tickd.app.credentials import Credentials
from tickd.app.flight import FlightKeeper
from tickd.app.http import HttpServer
from tickd.app.http_config import is_loopback
from tickd.telemetry.metrics import Metrics

__all__ = ["declare_doors", "declare_flight"]


def declare_doors(
    metrics: Metrics,
    config: Config,
    *,
    http: HttpServer,
    control: ControlServer,
    credentials: Credentials,
) -> None:
    """Declare them."""
    metrics.read_gauge(
        "tickd_app_insecure_state",
        "1 for what the configuration leaves open to others.",
        lambda: insecure_of(config),
        ("kind",),
    )
    metrics.read_gauge(
        "tickd_app_door_connections",
        "Connections that are open.",
        lambda: {("http",): http.connections_count, ("control",): control.connections_count},
        ("door",),
    )
    metrics.read_counter(
        "tickd_app_door_turned_away_total",
        "Connections for which there was no place.",
        lambda: {("http",): http.turned_away_total, ("control",): control.turned_away_total},
        ("door",),
    )
    metrics.read_counter(
        "tickd_app_door_refused_total",
        "Who asked without being allowed to: no token, another user.",
        lambda: {("http",): http.refused_total, ("control",): control.refused_total},
        ("door",),
    )
    metrics.read_counter(
        "tickd_app_command_failures_total",
        "Control commands that failed for a bug.",
        lambda: control.failures_total,
    )
    metrics.read_gauge(
        "tickd_app_credential_expiry_timestamp_seconds",
        "When a certificate that the configuration names ends.",
        lambda: {(name,): ends for name, ends in credentials.ends.items()},
        ("kind",),
    )
    metrics.read_gauge(
        "tickd_app_credential_unreadable_state",
        "1 for a certificate whose end could not be read.",
        lambda: {(name,): 1 for name in credentials.faults},
        ("kind",),
    )


def declare_flight(metrics: Metrics, flight: FlightKeeper | None) -> None:
    """Declare what the flight recorder kept; a daemon without one has kept nothing."""
    metrics.read_counter(
        "tickd_app_flight_dumps_total",
        "Dumps of the flight recorder: asked for by a signal, made at an event of level error.",
        lambda: dumps_of({} if flight is None else flight.dumps_total),
        ("cause",),
    )


def dumps_of(totals: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """Dumps that were asked for, and those of events; which event, the file's name says.

    Both are there from the beginning: a counter that appears with 1 has no rate.
    """
    kept = dict(totals)  # a copy: the recorder's thread adds to it
    asked = kept.get("signal", 0)
    return {("signal",): asked, ("error",): sum(kept.values()) - asked}


def insecure_of(config: Config) -> dict[tuple[str, ...], int]:
    """What a configuration leaves open, by name: 1, and 0 where it does not."""
    clickhouse = config.clickhouse
    urls = [urlsplit(url) for url in clickhouse.urls]
    is_unverified = not clickhouse.verify and any(url.scheme == "https" for url in urls)
    has_password = clickhouse.password is not None
    is_plain = any(url.scheme == "http" and not is_loopback(url.hostname or "") for url in urls)
    return {
        ("http",): int(bool(config.http.lacks)),
        ("clickhouse_unverified",): int(is_unverified),
        ("clickhouse_password_in_clear",): int(has_password and is_plain),
    }
