"""What a configuration needs and the machine has not: refused by `check`, survived by the daemon.

Method: a finder in front of all others refuses the import, as on a machine without the extra.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from tests.harness.binance_stand import key_files
from tests.unit.app.conftest import Ended
from tickd.app.config import Config
from tickd.app.daemon import Daemon
from tickd.app.wiring import wire
from tickd.config import parse
from tickd.telemetry.traces import Span, Trace

FILE = """
[node]
state_dir = "{folder}/state"
[[venues]]
name = "binance-usdm"
symbols = ["AAAUSDT"]
"""
TRACING = '[tracing]\nenabled = true\nendpoint = "http://127.0.0.1:1"\nprotocol = "{protocol}"\n'
POSTGRES = "[postgres]\nenabled = true\n"
BINANCE = """
[[accounts]]
broker = "binance"
name = "usdm"
market = "usdm"
symbols = ["AAAUSDT"]
"""
HTTP = "opentelemetry.exporter.otlp.proto.http"
GRPC = "opentelemetry.exporter.otlp.proto.grpc"
SPAN = Span(
    name="a", kind="client", span_id=2, parent_id=0, began_ns=1, ended_ns=2, attributes={"k": 1}
)
TRACE = Trace(trace_id=1, why="ratio", frame_last=1, events=1, latency_ns=1, spans=(SPAN,) * 3)


class Without(MetaPathFinder):
    """A machine on which a package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if fullname == self._package or fullname.startswith(f"{self._package}."):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def remove(package: str) -> None:
        for name in list(sys.modules):
            if name == package or name.startswith(f"{package}."):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])

    return remove


def file_of(folder: Path, more: str) -> Path:
    path = folder / "tickd.toml"
    path.write_text(FILE.format(folder=folder) + more)
    return path


CASES = [
    (TRACING.format(protocol="http"), HTTP, "tracing.endpoint", "tickd[tracing]"),
    (TRACING.format(protocol="grpc"), GRPC, "tracing.endpoint", "tickd[tracing]"),
    (TRACING.format(protocol="http"), "opentelemetry.sdk", "tracing.endpoint", "tickd[tracing]"),
    (POSTGRES, "asyncpg", "postgres.enabled", "tickd[postgres]"),
]


@pytest.mark.parametrize(("more", "package", "key", "extra"), CASES)
def test_a_missing_extra_is_refused_by_check_and_fails_the_doctor(
    tmp_path: Path,
    command: Callable[..., Ended],
    without: Callable[[str], None],
    more: str,
    package: str,
    key: str,
    extra: str,
) -> None:
    path = file_of(tmp_path, more)
    without(package)
    ended = command("check", path)
    assert ended.code == 2
    for word in (key, package, f"pip install '{extra}'"):
        assert word in ended.err, ended.err
    started = command("check", "--startable", path)
    assert started.code == 0, "the daemon records without it"
    assert f"pip install '{extra}'" in started.err
    (found,) = needs(command, path)
    assert (found["name"], found["verdict"]) == (f"needs {key}", "FAIL")
    assert package in found["words"]
    assert found["remedy"] == f"pip install '{extra}'"


def needs(command: Callable[..., Ended], path: Path) -> list[dict[str, str]]:
    findings = json.loads(command("doctor", "--quick", path, "--json").out)["findings"]
    return [each for each in findings if each["name"].startswith("needs ")]


def test_what_is_installed_is_fine_and_what_is_off_is_not_asked_for(
    tmp_path: Path, command: Callable[..., Ended], without: Callable[[str], None]
) -> None:
    pytest.importorskip("asyncpg", reason="tickd[postgres]")
    path = file_of(tmp_path, POSTGRES + "[tracing]\nenabled = true\n")
    without("opentelemetry")
    assert command("check", path).code == 0
    (found,) = needs(command, path)
    assert (found["name"], found["verdict"]) == ("needs postgres.enabled", "OK")


async def test_the_daemon_goes_on_without_exporter_and_probes(
    tmp_path: Path, without: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    text = FILE.format(folder=tmp_path) + TRACING.format(protocol="http") + POSTGRES
    without("asyncpg")
    without("opentelemetry")
    parts = wire(parse(text.encode(), Config))
    try:
        exposed = Daemon(parts).http.metrics
        exporter, sink = parts.traces.exporter, parts.probes.sink
        assert exporter is not None
        assert sink is not None
        assert exporter.offer(TRACE, 0)
        exporter.start()
        exporter.stop()
        await parts.probes.run()  # ends by itself and fails nobody
        assert parts.traces.tracing is not None, "traces are made for `tickd trace` all the same"
        shown = exposed.text().decode()
        for line in (
            "tickd_app_trace_failed_spans_total 3",
            "tickd_app_trace_export_failures_total 1",
            "tickd_recorder_probe_up_state 0",
            "tickd_recorder_probe_failures_total 1",
        ):
            assert f"\n{line}\n" in shown.replace(".0\n", "\n"), line
        said = capsys.readouterr()
        for extra in ("tickd[tracing]", "tickd[postgres]"):
            assert f"pip install '{extra}'" in said.out + said.err
    finally:
        await parts.put_away()


PLAIN = 'api_key_file = "{folder}/api.key"\nsecret_key_file = "{folder}/secret.key"\n'
FILES = (
    'api_key = {{ file = "{folder}/api.key" }}\nsecret_key = {{ file = "{folder}/secret.key" }}\n'
)
PASSED = 'api_key = {{ credential = "api.key" }}\nsecret_key = {{ credential = "secret.key" }}\n'


@pytest.mark.parametrize("form", [PLAIN, FILES, PASSED])
def test_check_and_doctor_open_the_keys_of_accounts(
    tmp_path: Path, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = file_of(tmp_path, BINANCE + form.format(folder=tmp_path))
    key_files(tmp_path)
    assert command("check", path).code == 0
    assert needs(command, path) == []
    (tmp_path / "secret.key").unlink()
    ended = command("check", path)
    assert ended.code == 2
    assert "accounts.usdm" in ended.err
    assert "secret.key" in ended.err
    started = command("check", "--startable", path)
    assert started.code == 0, "the daemon records without it"
    assert "secret.key" in started.err
    (found,) = needs(command, path)
    assert (found["name"], found["verdict"]) == ("needs accounts.usdm", "FAIL")


@pytest.mark.parametrize("form", [PLAIN, FILES, PASSED])
@pytest.mark.parametrize("has_keys", [True, False])
def test_panic_asks_with_every_form_and_misses_no_account(
    tmp_path: Path,
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    has_keys: bool,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = "query_tries = 1\nquery_timeout_s = 1.0\ncancel_all_timeout_s = 2.0\n"
    nowhere = 'rest_url = "http://127.0.0.1:1"\n'  # nobody listens there
    path = file_of(tmp_path, BINANCE + nowhere + settings + form.format(folder=tmp_path))
    if has_keys:
        key_files(tmp_path)
    ended: Any = command("panic", "--cancel-all", "--json", path)
    (row,) = json.loads(ended.out)
    assert ended.code == 1
    assert row["account"] == "usdm"
    assert ("api.key" in row["fault"]) is not has_keys, row
