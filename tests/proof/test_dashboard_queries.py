"""Every question of every dashboard is put to a real Prometheus and a real ClickHouse.

Method: one daemon records a simulated market with indicators, a strategy trades on paper, segments
are shipped, the venue leaves messages out and hangs up. Debian's Prometheus scrapes it each second
with the shipped rules loaded. An error or an empty answer is a failure; what is rightly empty is
listed with its reason.
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder.clickhouse.endpoint import Endpoint
from recorder.embedded.address import read_address
from recorder.embedded.key import read_key
from tests.harness.panels import (
    Asked,
    dashboards,
    filled_promql,
    filled_sql,
    folded,
    names_in_dashboards,
    of_absent_parts,
    questions,
    recorded_names,
    rule_files,
    selectors,
)
from tests.harness.processes import Daemon, server, venue_of, write_config
from tests.harness.prometheus_server import PrometheusServer, prometheus
from tests.harness.recording import order_fault
from tests.proof.test_trading_whole import LIMITS, TRADER, arm

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.skipif(find_spec("obstore") is None, reason="obstore is not installed"),
    pytest.mark.timeout(180),
]

VENUE, SYMBOL = "binance-usdm", "BTCUSDT"
WINDOW_S = 10  # ten scrapes; Grafana's least $__rate_interval is four
SETTLED_SCRAPES = 2 * WINDOW_S + 5
RANGE_S = 300
BOARDS = dashboards()
PARTS = """
[[strategies]]
name = "trader"
class = "{trader}:OfiTrader"
account = "paper"
topics = ["quote.binance-usdm.*"]
[[indicators]]
name = "flow"
kind = "ofi"
topics = ["quote.*.*"]
params = {{ window = 20 }}
[[indicators]]
name = "toxicity"
kind = "vpin"
topics = ["trade.*.*"]
params = {{ bucket_volume = 5.0, buckets = 5 }}
[[indicators]]
name = "heat"
kind = "hawkes"
topics = ["trade.*.*"]
params = {{ mu = 1.0, alpha = 0.5, beta = 10.0 }}
[[indicators]]
name = "middle"
kind = "mid"
topics = ["quote.*.*"]
[[universes]]
name = "best"
venue = "binance-usdm"
count = 2
rank = "trades"
[[subscriptions]]
name = "best"
patterns = ["binance-usdm:{{best}}@trade"]
"""
# (what it is asked of, why its answer may be empty here). A place or a part of the question.
MAY_BE_EMPTY = (
    ("/ annotation ", "marks: nothing was restarted, reloaded or halted after the first seconds"),
    ("ALERTS", "no alert fires"),
    ("tickd_gateway_usage_", "venues behind a broker's SDK only"),
    ("tickd_gateway_callback_queue_", "venues behind a broker's SDK only"),
    ("tickd_gateway_logins_left", "venues behind a broker's SDK only"),
    ("tickd_gateway_streams_confirmed", "venues behind a broker's SDK only"),
    ("tickd_recorder_sink_failed_attempts_total", "ClickHouse takes everything"),
    ("tickd_recorder_other_sink_failures_total", "no sink beside ClickHouse"),
    ("tickd_bus_handler_failures_total", "no handler raises"),
    ("tickd_recorder_spool_oldest_timestamp_seconds", "nothing is spooled"),
    ("tickd_recorder_disk_full_in_seconds{[^}]*} < ", "a disk that is not filling"),
    ("tickd_risk_halt_timestamp_seconds", "nothing is halted"),
    ("tickd_risk_unknown_oldest_timestamp_seconds", "no order is in doubt"),
    ("tickd_risk_alerts_total", "the trading stage has nothing to say"),
    ("tickd_gateway_gap_fill_seconds", "no gap ends within the last seconds"),
    ("tickd_recorder_ship_failures_total", "the store takes everything"),
    ("tickd_app_credential_", "no certificate is configured"),
    ("tickd_clock_", "machines where the kernel does not say"),
    ("tickd_app_gc_pause", "no collection within the window"),
    ("FROM gaps_open_v", "the filler may have closed them all"),
)


@dataclass(frozen=True)
class World:
    """What can be asked, and what the daemon exposes."""

    prometheus: PrometheusServer
    clickhouse: Endpoint
    exposed: set[str]
    from_ms: int

    def sql(self, text: str) -> list[dict[str, Any]]:
        values = {"node": "1", "market": VENUE, "symbol": SYMBOL}
        now_ms = time.time_ns() // 1_000_000
        filled = filled_sql(text, values, from_ms=self.from_ms, to_ms=now_ms, step_ms=1000)
        asked = {"query": f"{filled} FORMAT JSONEachRow", "database": "tickd"}
        request = urllib.request.Request(
            f"{self.clickhouse.url}/?{urllib.parse.urlencode(asked)}",
            headers=self.clickhouse.headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return [json.loads(line) for line in reply.read().splitlines()]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()[:500]) from error

    def answers(self, asked: Asked) -> int:
        """How many samples or rows an answer has; what is no number is none."""
        if asked.is_sql:
            return len(self.sql(asked.text))
        text = re.sub(r"\$__range\b", f"{RANGE_S}s", asked.text)
        samples = self.prometheus.ask(filled_promql(text, window=f"{WINDOW_S}s"))
        return sum(not math.isnan(float(each["value"][1])) for each in samples)


def configured(folder: Path, sim: dict[str, Any]) -> Path:
    store, key = folder / "store", folder / "history.key"
    store.mkdir()
    key.write_text("history")
    key.chmod(0o600)
    fill = {"api_key": {"file": str(key)}, "settle_seconds": 0.5}
    config = write_config(
        folder / "tickd.toml",
        state_dir=folder / "state",
        venues=[venue_of(sim, fill=fill)],
        sections={
            "sink": {"age_ms_max": 500},
            "raw_log": {"segment_seconds": 5},
            "ship": {"url": store.as_uri(), "every_s": 3},
        },
    )
    more = LIMITS + PARTS.format(trader=TRADER)
    config.write_text(config.read_text() + more)
    return config


def metrics_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return str(reply.read().decode())


def streaming(status: dict[str, Any]) -> bool:
    return bool(status["venues"] and not status["venues"][0]["snapshots_pending"])


def made_busy(daemon: Daemon, rest_url: str, server: PrometheusServer) -> None:
    """Refusals, fills, a gap, a damaged frame, a lost connection; then time for two windows."""
    daemon.wait_for(streaming)
    daemon.wait_for(lambda s: s["trading"]["counts"]["denied"] > 0)
    arm(daemon)
    gap: dict[str, object] = {"symbol": SYMBOL, "channel": "trade", "count": 3}
    order_fault(rest_url, kind="gap", **gap)
    order_fault(rest_url, kind="truncated", symbol=SYMBOL, channel="bookTicker", count=3)
    daemon.wait_for(lambda s: s["decoder"].get("gaps") and s["decoder"].get("refused"))
    order_fault(rest_url, kind="disconnect")
    ends = "tickd_gateway_disconnects_total > 0"
    daemon.wait_for(lambda status: server.ask(ends) and streaming(status))
    daemon.wait_for(lambda s: s["trading"]["counts"]["fills"] > 5)
    scrapes = server.scrapes()
    daemon.wait_for(lambda _: server.scrapes() >= scrapes + SETTLED_SCRAPES, timeout=90)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("dashboards")
    began_ms = time.time_ns() // 1_000_000
    with ExitStack() as stack:
        arguments = ["sim", "--rate", "2000", "--symbols", "5", "--seed", "7"]
        arguments += ["--remembered-trades", "50000"]
        sim = stack.enter_context(server(*arguments, log=folder / "sim.log"))
        daemon = stack.enter_context(Daemon(configured(folder, sim), folder / "daemon.log"))
        port = daemon.status()["http_port"]
        asked = stack.enter_context(
            prometheus(folder / "prometheus", f"127.0.0.1:{port}", rule_files())
        )
        made_busy(daemon, sim["rest"][VENUE], asked)
        families = {
            sample.name
            for family in text_string_to_metric_families(metrics_of(port))
            for sample in [*family.samples, family]
        }
        directory = folder / "state" / "clickhouse"
        address = read_address(directory)
        assert address is not None
        endpoint = Endpoint(address.url, password=read_key(directory), embedded=True)
        yield World(asked, endpoint, families, began_ms)
        assert daemon.stop() == 0, daemon.tail()


def excused(asked: Asked, exposed: set[str]) -> bool:
    names = set() if asked.is_sql else {each.name for each in selectors(asked.text)}
    return bool(of_absent_parts(names, exposed)) or any(
        re.search(part, asked.place) or re.search(part, asked.text) for part, _ in MAY_BE_EMPTY
    )


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_shows_something(world: World, name: str) -> None:
    failures = []
    for asked in questions(name, BOARDS[name]):
        try:
            count = world.answers(asked)
        except AssertionError as error:
            failures.append(f"{asked.place}: {error}: {asked.text}")
            continue
        if not count and not excused(asked, world.exposed):
            failures.append(f"{asked.place}: empty: {asked.text}")
    assert not failures, "\n".join(failures)


def test_the_book_of_the_market_is_one(world: World) -> None:
    """Out of a snapshot and what followed it: ten levels a side, in order, and not crossed."""
    (asked,) = (
        each for each in questions("market", BOARDS["market"]) if "book_levels" in each.text
    )
    levels = world.sql(asked.text)
    bids, asks = ([row["price"] for row in levels if row["side"] == side] for side in "BA")
    assert (len(bids), len(asks)) == (10, 10)
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    assert all(row["size"] > 0 for row in levels)


def test_variables_offer_something(world: World) -> None:
    for name, board in BOARDS.items():
        for variable in board["templating"]["list"]:
            if variable["type"] != "query" or isinstance(variable["query"], dict):
                continue
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found, f"{name}: {variable['query']}"
            selector = filled_promql(found[1], window="1m")
            values = world.prometheus.get(f"label/{found[2]}/values", **{"match[]": selector})
            assert values, f"{name} / variable {variable['name']}: no value"


def test_every_metric_of_a_dashboard_is_exposed_by_the_daemon(world: World) -> None:
    """What only other configurations expose is in the list of what may be empty."""
    used = folded(names_in_dashboards() - recorded_names() - {"up", "ALERTS"}, world.exposed)
    absent = {
        name
        for name in used - world.exposed - of_absent_parts(used, world.exposed)
        if not any(re.search(part, name) for part, _ in MAY_BE_EMPTY)
    }
    assert absent == set()


def test_every_excuse_is_of_some_question() -> None:
    asked = [each for name, board in BOARDS.items() for each in questions(name, board)]
    for part, _ in MAY_BE_EMPTY:
        assert any(re.search(part, each.place) or re.search(part, each.text) for each in asked), (
            part
        )
