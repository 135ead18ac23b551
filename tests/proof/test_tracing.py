"""Batches of a trading daemon as an OTLP collector sees them, over http and over gRPC.

Method: a receiver in a process of its own decodes the protobuf that a whole daemon sends while it
trades a simulated market; the tree of a batch that led to an order is judged span by span: stages,
parents, links, times. It is then told to refuse: the daemon goes on and counts what is lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from tests.harness.processes import Daemon, server, stop, venue_of, write_config
from tests.proof.test_trading_whole import LIMITS, TRADER, arm, fills

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.skipif(find_spec("grpc") is None, reason="tickd[tracing] is not installed"),
    pytest.mark.timeout(300),
]

RECEIVER = Path(__file__).parents[1] / "servers" / "otlp_receiver.py"
SECRET = "authorization=Bearer of-the-test"
# Name of a stage -> name of its parent. ClickHouse's spans are named by table.
TREE = {
    "process market-data": "",
    "receive market-data": "process market-data",
    "decode market-data": "process market-data",
    "publish market-data": "process market-data",
    "write raw-log": "process market-data",
    "sync raw-log": "process market-data",
    "store quotes": "process market-data",
    "process strategy.trader": "publish market-data",
    "decide gate": "process strategy.trader",
    "send binance-usdm": "decide gate",
}
# Not every batch has one.
CANCEL = "cancel binance-usdm"
PARENTS = {**TREE, CANCEL: "decide gate"}
# As far as one follows from the other.
IN_ORDER = (
    ("process market-data", "began_ns", "receive market-data", "began_ns"),
    ("receive market-data", "ended_ns", "decode market-data", "began_ns"),
    ("decode market-data", "ended_ns", "publish market-data", "began_ns"),
    ("decode market-data", "ended_ns", "process strategy.trader", "began_ns"),
    ("process strategy.trader", "began_ns", "decide gate", "began_ns"),
    ("decide gate", "ended_ns", "send binance-usdm", "began_ns"),
    ("decode market-data", "ended_ns", "write raw-log", "began_ns"),
    ("write raw-log", "ended_ns", "sync raw-log", "began_ns"),
    ("write raw-log", "ended_ns", "store quotes", "ended_ns"),
    ("store quotes", "ended_ns", "process market-data", "ended_ns"),
)


class Receiver:
    def __init__(self, path: Path, ports: dict[str, int]) -> None:
        self._path = path
        self.ports = ports

    def spans(self) -> list[dict[str, Any]]:
        text = self._path.read_text() if self._path.exists() else ""
        # The last line may still be on its way.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def refuse(self, seconds: float) -> None:
        url = f"http://127.0.0.1:{self.ports['http']}/refuse?seconds={seconds}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10):
            pass


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    path = folder / "spans.jsonl"
    process = subprocess.Popen([sys.executable, RECEIVER, path], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Receiver(path, json.loads(process.stdout.readline()))
    finally:
        stop(process)
        process.stdout.close()


def started(folder: Path, sim: dict[str, Any], tracing: dict[str, object], more: str) -> Daemon:
    secret = folder / "headers"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    config = write_config(
        folder / "tickd.toml",
        state_dir=folder / "state",
        venues=[venue_of(sim)],
        sections={
            "tracing": {"enabled": True, "headers": {"file": str(secret)}, **tracing},
            "raw_log": {"group_ms": 20, "fsync_ms": 50},
        },
    )
    # Inline tables of TOML have no colons.
    text = config.read_text().replace('"file": ', "file = ")
    strategy = (
        f'[[strategies]]\nname = "trader"\nclass = "{TRADER}:OfiTrader"\naccount = "paper"\n'
        f'topics = ["quote.binance-usdm.*"]\n{more}'
    )
    config.write_text(text + LIMITS + strategy)
    return Daemon(config, folder / "daemon.log")


def by_trace(spans: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        found.setdefault(span["trace_id"], []).append(span)
    return found


def whole_trees(spans: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Traces that have every stage, an order among them."""
    wanted = set(TREE)
    return [tree for tree in by_trace(spans).values() if wanted <= {each["name"] for each in tree}]


def judge(tree: list[dict[str, Any]]) -> None:
    """Parents, times, attributes of one batch."""
    by_id = {span["span_id"]: span for span in tree}
    assert len(by_id) == len(tree), "a span id twice"
    root = next(span for span in tree if not span["parent_id"])
    for span in tree:
        name = span["name"]
        parent = by_id[span["parent_id"]]["name"] if span["parent_id"] else ""
        expected = "process market-data" if name.startswith("store ") else PARENTS[name]
        assert parent == expected, f"{name} below {parent}"
        assert span["began_ns"] <= span["ended_ns"], span
        assert root["began_ns"] <= span["began_ns"], f"{name} before its batch"
        assert span["attributes"]["messaging.system"] == "tickd"
        if name in ("decide gate", "send binance-usdm", CANCEL):
            assert span["links"] == [[root["trace_id"], root["span_id"]]]
    assert root["attributes"]["tickd.whole"] is True
    assert root["attributes"]["tickd.venues"] == "binance-usdm"
    sent = next(span for span in tree if span["name"] == "send binance-usdm")
    order = [span for span in tree if span["span_id"] == sent["parent_id"]]
    handler = [span for span in tree if span["span_id"] == order[0]["parent_id"]]
    first = {span["name"]: span for span in (*reversed(tree), sent, *order, *handler)}
    for before, field, after, other in IN_ORDER:
        assert first[before][field] <= first[after][other], (before, after)


def block_of(spans: list[dict[str, Any]], tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trace of the insert that took the batch's quotes; empty while it has not come."""
    storing = next(span for span in tree if span["name"] == "store quotes")
    [[trace_id, _]] = storing["links"]
    return by_trace(spans).get(trace_id, [])


def judge_block(block: list[dict[str, Any]], tree: list[dict[str, Any]]) -> int:
    """The insert that took the batch's quotes is linked both ways; return how many it took."""
    storing = next(span for span in tree if span["name"] == "store quotes")
    root = next(span for span in tree if not span["parent_id"])
    [[_, span_id]] = storing["links"]
    insert = next(span for span in block if span["span_id"] == span_id)
    assert insert["name"] == "insert quotes"
    assert insert["parent_id"] == ""
    assert len(insert["links"]) == 128 or [root["trace_id"], root["span_id"]] in insert["links"]
    assert {span["name"] for span in block} == {"insert quotes", "wait quotes", "request quotes"}
    assert all(span["parent_id"] in ("", span_id) for span in block)
    return len(insert["links"])


def judge_exemplars(daemon: Daemon, otlp: Receiver) -> None:
    """Buckets of the latency histograms name traces that the collector has, or gets in a moment."""
    url = f"http://127.0.0.1:{daemon.status()['http_port']}/metrics"
    accept = {"Accept": "application/openmetrics-text"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=accept), timeout=10) as answer:
        families = {each.name: each for each in parsed(answer.read().decode())}
    for name in (
        "gateway_publish_latency",
        "recorder_raw_write_latency",
        "recorder_sink_ack_latency",
    ):
        samples = families[f"tickd_{name}_seconds"].samples
        shown = [each.exemplar for each in samples if each.exemplar is not None]
        assert shown, f"no exemplar of {name}"
        wanted = {exemplar.labels["trace_id"] for exemplar in shown}
        daemon.wait_for(lambda _, wanted=wanted: wanted <= by_trace(otlp.spans()).keys())


def until_judged(daemon: Daemon, otlp: Receiver) -> list[dict[str, Any]]:
    """What came, once a whole tree and its insert are there: a trace each, sent one by one."""
    spans: list[dict[str, Any]] = []

    def there(_: object) -> bool:
        spans[:] = otlp.spans()
        return any(block_of(spans, tree) for tree in whole_trees(spans))

    daemon.wait_for(there)
    return spans


def metric(daemon: Daemon, name: str) -> float:
    url = f"http://127.0.0.1:{daemon.status()['http_port']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("protocol", "more", "isolation"),
    [("http", "", "process"), ("grpc", 'isolation = "inproc"\n', "inproc")],
)
def test_a_batch_is_one_tree_from_the_socket_to_the_order(
    tmp_path: Path, protocol: str, more: str, isolation: str
) -> None:
    arguments = ["sim", "--rate", "1500", "--symbols", "4", "--seed", "7"]
    with receiver(tmp_path) as otlp, server(*arguments, log=tmp_path / "sim.log") as sim:
        endpoint = f"http://127.0.0.1:{otlp.ports[protocol]}"
        tracing: dict[str, object] = {"ratio": 1.0, "endpoint": endpoint, "protocol": protocol}
        daemon = started(tmp_path, sim, {**tracing, "timeout_ms": 2000}, more)
        try:
            daemon.start()
            arm(daemon)
            fills(daemon, 1)
            spans = until_judged(daemon, otlp)
            trees = whole_trees(spans)
            for tree in trees:
                judge(tree)
            blocks = [(block, tree) for tree in trees if (block := block_of(spans, tree))]
            assert max(judge_block(*each) for each in blocks) > 1, "no fan-in"
            judge_exemplars(daemon, otlp)
            refused(daemon, otlp)
            assert daemon.stop() == 0, daemon.tail()
        finally:
            daemon.close()
    assert {span["door"] for span in spans} == {protocol}
    assert spans[0]["headers"]["authorization"] == "Bearer of-the-test"
    assert spans[0]["resource"]["service.name"] == "tickd"
    lanes = {span["attributes"].get("tickd.isolation") for span in spans}
    assert lanes == {None, isolation}
    assert "Bearer" not in daemon.log.read_text()


def refused(daemon: Daemon, otlp: Receiver) -> None:
    """The collector goes away and comes back: nothing waits for it, what is lost is counted."""
    frames = daemon.status()["raw_log"]["frames"]
    otlp.refuse(3600)
    daemon.wait_for(lambda _: metric(daemon, "tickd_app_trace_failed_spans_total") > 0)
    daemon.wait_for(lambda s: s["raw_log"]["frames"] > frames + 500 and s["sink"]["caught_up"])
    assert daemon.status()["state"] == "recording"
    otlp.refuse(0)
    sent = len(otlp.spans())
    daemon.wait_for(lambda _: len(otlp.spans()) > sent)
