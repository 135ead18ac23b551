"""docs/metrics.md: every metric that a daemon can show, from the declarations themselves.

A daemon with everything configured is wired in a scratch directory, and never run. A test keeps the
page in step: python -m tickd.app.metrics_page docs/metrics.md
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.config import UniverseConfig, VenueConfig
from recorder.config import ClickHouseConfig
from recorder.probes.config import PostgresConfig
from recorder.ship.config import ShipConfig
from risk.brokers.paper.config import PaperConfig
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.daemon import Daemon
from tickd.app.logs import LogConfig, configure_logging
from tickd.app.tracing_config import TracingConfig
from tickd.app.wiring import wire
from tickd.telemetry.exposition import Family
from tickd.telemetry.metrics import SERIES_MAX

__all__ = ["declared", "page"]

_ROOT: Final = Path(__file__).parents[2]
# Where a name may be used, and what the page calls it.
_USES: Final[Mapping[str, tuple[str, ...]]] = {
    "alert": ("deploy/prometheus/*.rules.yml", "deploy/prometheus/rules/*.yml"),
    "dashboard": ("dashboards/**/*.json",),
}
# Stage -> title and what it tells, in the order of the page; the first words of names.
_STAGES: Final[Mapping[str, str]] = {
    "build": "Build and configuration",
    "config": "Build and configuration",
    "process": "Process",
    "app": "Process",
    "clock": "Process",
    "telemetry": "Telemetry itself",
    "gateway": "Gateway",
    "bus": "Bus",
    "recorder": "Recorder",
    "strategy": "Strategies and indicators",
    "risk": "Risk, orders, accounts",
}
_OTHER: Final = "Other"
_UNITS: Final[Mapping[str, str]] = {
    "timestamp_seconds": "s since 1970",
    "start_time_seconds": "s since 1970",
    "seconds": "s",
    "bytes": "bytes",
    "info": "always 1",
    "state": "state",
    "amount": "the account's currency",
    "fds": "descriptors",
    "batches": "batches",
    "blocks": "blocks",
    "events": "events",
    "frame": "frame number",
    "frames": "frames",
    "ids": "ids",
    "objects": "objects",
    "records": "records",
    "rows": "rows",
    "segments": "segments",
}
_UNIT: Final = "count"
_HEAD: Final = f"""# Metrics

What `/metrics` of a daemon shows, from the declarations themselves; a test compares. Made by
`python -m tickd.app.metrics_page docs/metrics.md`. Names follow Prometheus' conventions, and
`promtool check metrics` finds nothing to say ([ADR 42](adr/0042-metrics.md)).

- A daemon shows at most {SERIES_MAX:,} series, whatever the number of symbols: no label is a
  symbol, but for the 20 topics furthest behind. Every topic is in `tickd status --topics` and in
  the ClickHouse table `topic_lag`.
- Histograms have buckets that double, most from 16 µs to 8.4 s (`tickd_risk_*`: from 1, 4 or
  64 µs), with the objectives and the bounds of alerts among them: the
  share within one is `bucket{{le="…"}} / count`, summed over daemons as one likes. Beside each
  stand p50, p99 and p99.9 of the last 30 to 60 seconds (`…_quantile_seconds`), to 3 %, of one
  daemon, not to be averaged; NaN: there was nothing.
- `…_high_water…` is the most since the last scrape: one Prometheus per daemon, or they take it from
  each other.
- Metrics of parts that are not configured (shipping, universes, strategies, indicators, accounts,
  tracing, PostgreSQL, the embedded server, a broker's SDK) are absent; what the system does not
  tell (`tickd_clock_*` under a seccomp filter) shows no series.
- *used*: in an alert or recording rule (`deploy/prometheus`), in a dashboard (`dashboards`), or
  nowhere but here: **operator**, for whoever looks closer.
"""


async def declared() -> tuple[Family, ...]:
    """Every family of a daemon that does everything."""
    with tempfile.TemporaryDirectory() as scratch:
        parts = wire(_everything(Path(scratch)))
        try:
            return Daemon(parts).http.metrics.families
        finally:
            await parts.put_away()


def _everything(state_dir: Path) -> Config:
    venue, topics = "binance-usdm", ("trade.binance-usdm.BTCUSDT",)
    return Config(
        node=NodeConfig(state_dir=str(state_dir)),
        clickhouse=ClickHouseConfig(url="embedded"),
        ship=ShipConfig(url="memory://metrics"),
        venues=(VenueConfig(name=venue, symbols=("BTCUSDT",)),),
        universes=(UniverseConfig(name="top", venue=venue, count=1),),
        accounts=(PaperConfig(name="paper", balance="1000"),),
        strategies=(
            StrategyConfig(name="one", class_="one.py:One", account="paper", topics=topics),
        ),
        tracing=TracingConfig(enabled=True, endpoint="http://127.0.0.1:4318"),
        postgres=PostgresConfig(enabled=True),
        indicators=(IndicatorConfig(name="cvd", kind="cvd", topics=topics),),
    )


def page(families: Iterable[Family], root: Path = _ROOT) -> str:
    """The whole page; `root`: where rules and dashboards are looked for."""
    texts = {use: _texts(root, patterns) for use, patterns in _USES.items()}
    by_stage: dict[str, list[Family]] = {title: [] for title in (*_STAGES.values(), _OTHER)}
    for family in families:
        by_stage[_stage(family.name)].append(family)
    out = [_HEAD]
    for title, members in by_stage.items():
        if not members:
            continue
        out += [f"## {title}", "", "| name | type | labels | unit | meaning | used |"]
        out.append("|:--|:--|:--|:--|:--|:--|")
        for family in members:
            labels = ", ".join(f"`{label}`" for label in family.labels)
            used = ", ".join(_uses(family, texts)) or "operator"
            out.append(
                f"| `{family.name}` | {family.kind} | {labels} | {_unit(family.name)} "
                f"| {family.description} | {used} |"
            )
        out.append("")
    return "\n".join(out)


def _stage(name: str) -> str:
    words = name.split("_")
    return _STAGES.get(words[0] if words[0] != "tickd" else words[1], _OTHER)


def _unit(name: str) -> str:
    stem = name.removesuffix("_total")
    for suffix, unit in _UNITS.items():
        if stem.endswith(f"_{suffix}"):
            return unit
    return _UNIT


def _texts(root: Path, patterns: tuple[str, ...]) -> str:
    files = sorted(path for pattern in patterns for path in root.glob(pattern))
    return "\n".join(path.read_text() for path in files)


def _uses(family: Family, texts: Mapping[str, str]) -> Iterator[str]:
    name = re.compile(rf"\b{family.name}(_bucket|_sum|_count)?\b")
    for use, text in texts.items():
        if name.search(text):
            yield use


def main() -> None:
    """Write the page to the file that is named, or to the standard output.

    Needs the extras ship and embedded, as the daemon does whose metrics it lists.
    """
    configure_logging(LogConfig(level="warning"))
    text = page(asyncio.run(declared()))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
