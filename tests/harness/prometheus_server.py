"""A real Prometheus over a real daemon: started on a free port, asked over its API, ended by pid."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.processes import stop

START_S = 30.0
_FILE = "prometheus.yml"


class PrometheusServer:
    """What is asked of it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """Return `data` of an answer; raises AssertionError with Prometheus' own words."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from error

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        return list(self.get("query", query=expression)["result"])

    def scrapes(self) -> int:
        """Scrapes of the first target so far that were answered."""
        found = self.ask("count_over_time((up == 1)[1h:1s])")
        return int(float(found[0]["value"][1])) if found else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prometheus(
    folder: Path, target: str, rule_files: list[Path], *, token: str = ""
) -> Iterator[PrometheusServer]:
    """A server that scrapes `target` (host:port) each second and evaluates the rules as often."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus: apt install prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in rule_files:
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"  # a proof of minutes does not wait for rules of half a minute
        copies.append(folder / path.name)
        copies[-1].write_text(yaml.safe_dump(rules))
    scrape: dict[str, Any] = {"job_name": "tickd", "static_configs": [{"targets": [target]}]}
    if token:
        scrape["authorization"] = {"credentials": token}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in copies],
        "scrape_configs": [scrape],
    }
    (folder / _FILE).write_text(yaml.safe_dump(config))
    port = _free_port()
    arguments = [f"--config.file={folder / _FILE}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen([binary, *arguments], stdout=log, stderr=log, cwd=folder)
    try:
        server = PrometheusServer(f"http://127.0.0.1:{port}")
        _wait_until_ready(server, process, folder)
        yield server
    finally:
        stop(process)


def _wait_until_ready(
    server: PrometheusServer, process: subprocess.Popen[bytes], folder: Path
) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.url}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no Prometheus: {(folder / 'prometheus.log').read_text()[-2000:]}")
