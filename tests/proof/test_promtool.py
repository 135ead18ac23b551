"""/metrics of a live daemon under load: promtool has nothing to say, the page knows every name.

The daemon trades on paper, has an indicator, ships to a folder and keeps an embedded ClickHouse; it
is then told to read its file again, broken and whole, and shows what came of it.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.processes import POLL_S, REPOSITORY, Daemon, server
from tickd.telemetry.metrics import SERIES_MAX

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(180)]

VENUE = "binance-usdm"
MORE = """
[http]
port = 0

[disk_guard]
ballast_bytes = 0

[ship]
url = "{store}"

[[indicators]]
name = "cvd"
kind = "cvd"
topics = ["trade.binance-usdm.*"]
"""


class Live(NamedTuple):
    """A running daemon and its file."""

    daemon: Daemon
    config: Path

    def text(self) -> str:
        port = self.daemon.status()["http_port"]
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            return str(reply.read().decode())

    def values(self) -> dict[str, float]:
        rows = (line.rsplit(" ", 1) for line in self.text().splitlines() if line[0] != "#")
        return {name: float(value) for name, value in rows}

    def until(self, name: str, wanted: float, seconds: float = 30) -> dict[str, float]:
        deadline = time.monotonic() + seconds
        while (values := self.values()).get(name) != wanted:
            assert time.monotonic() < deadline, f"{name} is {values.get(name)}, not {wanted}"
            time.sleep(POLL_S)
        return values


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("promtool")
    with server("sim", "--symbols", "3", "--rate", "3000", log=folder / "sim.log") as venue:
        text = (REPOSITORY / "examples" / "paper.toml").read_text()
        text = text.replace('"paper"\n\n[clickhouse]', f'"{folder / "state"}"\n\n[clickhouse]')
        text = text.replace("ws://127.0.0.1:9001", venue["ws"][VENUE])
        text = text.replace("http://127.0.0.1:9002", venue["rest"][VENUE])
        config = folder / "tickd.toml"
        config.write_text(text + MORE.format(store=(folder / "store").as_uri()))
        with Daemon(config, folder / "daemon.log") as daemon:
            daemon.wait_for(
                lambda status: status["sink"]["rows_committed"] and status["strategies"], timeout=90
            )
            yield Live(daemon, config)
            daemon.stop()


def test_promtool_has_nothing_to_say(live: Live) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: it comes with prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=live.text(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_every_name_stands_in_the_page_with_its_type_and_labels(live: Live) -> None:
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", page, re.MULTILINE)
    known = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    families = list(text_string_to_metric_families(live.text()))
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kind, labels = known[name]
        assert kind == family.type, name
        for sample in family.samples:
            assert set(sample.labels) - {"le", "quantile"} == labels, sample
    shown = {family.name for family in families}
    # Of a live daemon that does all of this, nothing of it is missing.
    for part in ("process_", "tickd_clock_", "tickd_recorder_ship_", "tickd_risk_outbox_"):
        assert any(name.startswith(part) for name in shown), part


def test_every_stage_shows_that_it_works(live: Live) -> None:
    live.until(f'tickd_gateway_books{{venue="{VENUE}",state="synced"}}', 3)
    live.until("tickd_recorder_clickhouse_up_state", 1)
    values = live.until("tickd_recorder_embedded_up_state", 1)
    assert sum(v for k, v in values.items() if k.startswith("tickd_gateway_events_total")) > 0
    assert values["tickd_recorder_clickhouse_up_state"] == 1
    assert values["tickd_recorder_embedded_memory_bytes"] > 50 << 20
    assert values[f'tickd_gateway_books{{venue="{VENUE}",state="synced"}}'] == 3
    assert values['tickd_app_state{state="recording"}'] == 1
    assert values["tickd_risk_armed_state"] == 0
    assert values["tickd_risk_halt_timestamp_seconds"] > 0
    assert values['tickd_risk_broker_up_state{account="paper"}'] == 1
    assert values['tickd_recorder_raw_write_latency_quantile_seconds{quantile="0.5"}'] > 0
    assert (
        values["tickd_recorder_raw_segment_timestamp_seconds"]
        > values["process_start_time_seconds"] - 5
    )
    assert values["tickd_app_gc_pause_seconds_count"] >= 0
    assert values["tickd_telemetry_series"] == len(values) <= SERIES_MAX
    assert values["tickd_telemetry_series_dropped"] == 0


def test_what_came_of_a_hangup_is_seen(live: Live) -> None:
    before = live.values()
    assert before["tickd_config_reload_success_state"] == 1
    process = live.daemon.process
    assert process is not None
    good = live.config.read_text()
    try:
        live.config.write_text(good + "\n[[nonsense\n")
        process.send_signal(signal.SIGHUP)
        after = live.until("tickd_config_reload_success_state", 0)
        assert after['tickd_gateway_reloads_total{state="refused"}'] == 1
        name = "tickd_config_reload_success_timestamp_seconds"
        assert after[name] == before[name]
        assert after["tickd_config_reload_timestamp_seconds"] > before[name]
        live.config.write_text(
            good.replace(
                'symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]', 'symbols = ["BTCUSDT", "ETHUSDT"]'
            )
            .replace("duplicate_window_ms = 50", "duplicate_window_ms = 60")
            .replace("ballast_bytes = 0", "ballast_bytes = 1048576")
        )
        process.send_signal(signal.SIGHUP)
        taken = live.until("tickd_config_reload_success_state", 1)
        assert taken[name] > after["tickd_config_reload_timestamp_seconds"] - 0.001
        assert taken["tickd_config_reload_waiting"] == 1  # disk_guard
        (hash_before,), (hash_after,) = (
            {key for key in values if key.startswith("tickd_config_info")}
            for values in (before, taken)
        )
        assert hash_before != hash_after
    finally:
        live.config.write_text(good)
        process.send_signal(signal.SIGHUP)
        # As the other tests found it, whatever their order.
        live.until(f'tickd_gateway_books{{venue="{VENUE}",state="synced"}}', 3)
