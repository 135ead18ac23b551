"""The distribution: what a wheel holds, and that the generic package names are ours."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import zipfile
from importlib import import_module, metadata
from pathlib import Path

import pytest

from tickd.native import BUILD_PROFILE, VERSION

REPOSITORY = Path(__file__).resolve().parents[1]
READ_DDL = "import recorder.schema.migrate as m; assert m.read_migrations(m.ddl_directory())"
STAGES = ("tickd", "gateway", "recorder", "strategy_runner", "risk", "backtest")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_ours_and_typed(stage: str) -> None:
    module = import_module(stage)
    assert module.__tickd_stage__ is True
    assert module.__file__ is not None
    assert (Path(module.__file__).parent / "py.typed").exists()


def test_native_module_belongs_to_this_version() -> None:
    assert metadata.version("tickd") == VERSION
    assert BUILD_PROFILE in ("debug", "release")


def test_the_debian_package_leaves_out_what_only_the_embedded_server_needs() -> None:
    program = runpy.run_path(str(REPOSITORY / "deploy" / "debian" / "requirements.py"))
    lock = (REPOSITORY / "requirements" / "runtime.txt").read_text()
    names = re.compile(r"^([a-z0-9-]+)==", re.MULTILINE)
    left_out = set(names.findall(lock)) - set(names.findall(program["kept"](lock)))
    assert left_out == {"chdb", "chdb-core", "pandas", "python-dateutil"}
    assert "--hash=sha256:" in program["kept"](lock)


SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$CALLS"
case "$*" in list-units*tickd@*) printf '%s loaded active running x\\n' $RUNNING ;; esac
"""
INVOKE = '#!/bin/sh\necho "invoke $*" >>"$CALLS"\n'


def calls_of(folder: Path, script: str, *arguments: str, running: str = "") -> list[str]:
    """What a script of the package asks of systemd, on a machine where these units run."""
    text = (REPOSITORY / "deploy" / "debian" / script).read_text()
    assert "/run/systemd/system" in text
    (folder / script).write_text(text.replace("/run/systemd/system", str(folder)))
    for name, program in (("systemctl", SYSTEMCTL), ("deb-systemd-invoke", INVOKE)):
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(calls), "RUNNING": running}
    subprocess.run(["sh", folder / script, *arguments], env=environment, check=True, timeout=30)
    return [line for line in calls.read_text().splitlines() if line.startswith("invoke")]


@pytest.mark.parametrize(
    ("running", "asked"),
    [
        ("tickd.service", ["invoke restart tickd.service"]),
        ("tickd@0-2.service tickd@1-2.service", None),
        ("", []),
    ],
)
def test_an_upgrade_restarts_what_runs(
    tmp_path: Path, running: str, asked: list[str] | None
) -> None:
    asked = [f"invoke restart {running}"] if asked is None else asked
    assert calls_of(tmp_path, "postinst", "configure", "0.1", running=running) == asked


def test_a_removal_stops_shards_too(tmp_path: Path) -> None:
    asked = "invoke stop tickd-ship.timer tickd.service tickd@*.service"
    assert calls_of(tmp_path, "prerm", "remove") == [asked]


def test_there_are_at_most_fifteen_targets_and_help_lists_each() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    targets = phony.split()
    assert len(targets) <= 15
    assert sorted(targets) == sorted(re.findall(r"^([a-z-]+):.*?## ", text, re.MULTILINE))


@pytest.mark.proof
@pytest.mark.timeout(120)
def test_pure_tests_need_no_native_module_and_no_unix() -> None:
    """What CI runs on macOS and Windows, where the module may lack and some libraries do."""
    hidden = ("tickd._native", "fcntl", "uvloop", "picows", "chdb", "aiohttp", "rich", "cyclopts")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(%r)); import pytest; "
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:cov', '@tests/pure.txt']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program % (hidden,)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_wheel_holds_every_stage_the_ddl_and_one_native_module(tmp_path: Path) -> None:
    maturin = Path(sys.executable).parent / "maturin"
    subprocess.run(
        [str(maturin), "build", "--release", "--locked", "--quiet", "--out", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
    )
    (wheel,) = tmp_path.glob("tickd-*.whl")
    assert "-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for stage in STAGES:
        assert f"{stage}/__init__.py" in names
        assert f"{stage}/py.typed" in names
    assert [n for n in names if n.startswith("tickd/_native") and n.endswith(".so")]
    assert "tickd/_native.pyi" in names
    assert [n for n in names if n.endswith(".sql")], "the tables' DDL is missing"
    # The tables' DDL keeps its place beside the stages: `recorder.schema.migrate` finds it there.
    known = (*(f"{stage}/" for stage in STAGES), "deploy/clickhouse/", "deploy/postgres/")
    outside = [n for n in names if not n.startswith(known) and ".dist-info/" not in n]
    assert not outside, f"unexpected top-level content: {outside[:5]}"
    # The wheel alone is enough to load the DDL and the command line.
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), wheel],
        check=True,
    )
    subprocess.run(
        [sys.executable, "-P", "-c", READ_DDL],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        check=True,
    )
