"""Commands that somebody types: without the daemon's secrets, at one that hangs, without rights."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tickd.app.asking import not_answered
from tickd.app.commands.doctor import examine
from tickd.app.control import ask, socket_path
from tickd.app.disk_checks import nearest
from tickd.app.exit_codes import ExitCode
from tickd.app.findings import failed
from tickd.app.quick_status import quick_status
from tickd.errors import TickdError

SECRET = '[clickhouse]\npassword = { credential = "clickhouse" }\n'
ONLY_THE_SOCKET = [
    ("status",),
    ("status", "--topics"),
    ("risk", "status"),
    ("risk", "kill"),
    ("risk", "arm", "--operator", "ada", "--reason", "checked"),
    ("order", "list"),
    ("gaps", "list"),
    ("gaps", "fill"),
    ("top", "--once"),
    ("tail",),
    ("trace",),
    ("reload",),
    ("subscribe",),
    ("unsubscribe",),
]
SPOOL = {"blocks": 0, "bytes": 0, "oldest_ns": 0, "tables": {}, "quarantine": [], "dropped": []}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a secret that whoever types has not."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("tickd.secrets.CREDENTIAL_SOURCE", tmp_path / "credentials")
    file = tmp_path / "tickd.toml"
    file.write_text(f'[node]\nstate_dir = "{tmp_path}"\n{SECRET}')
    return file


@contextmanager
def listening(state_dir: Path, answers: int, answer: object = None) -> Iterator[None]:
    """A daemon's socket that answers so many times the same, and then nothing more."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path(state_dir)))
        server.listen()

        def serve() -> None:
            for _ in range(answers):
                line, _ = server.accept()
                with line:
                    line.recv(4096)
                    line.sendall(json.dumps({"result": answer}).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickd.app.control.TIMEOUT_S", 0.05)
    monkeypatch.setattr("tickd.app.asking.TIMEOUT_S", 0.05)
    monkeypatch.setattr("tickd.app.commands.tail.SILENCE_S", 0.05)


@pytest.mark.parametrize("words", ONLY_THE_SOCKET, ids=" ".join)
def test_what_asks_a_daemon_needs_no_secret(
    words: tuple[str, ...], config: Path, command: Any
) -> None:
    at = 2 if words[0] in ("risk", "order", "gaps") else 1
    ended = command(*words[:at], config, *words[at:])
    assert ended.code == ExitCode.FAILED, ended.err
    assert ended.err.startswith(f"tickd: no daemon answers at {config.parent}/control.sock")


def test_the_flight_recorder_needs_no_secret(config: Path, command: Any) -> None:
    ended = command("flight", config)
    assert "nothing was recorded here" in ended.err


def test_a_running_daemons_spool_needs_no_secret(config: Path, command: Any) -> None:
    with listening(config.parent, 2, SPOOL):
        ended = command("spool", "list", config)
    assert ended.code == ExitCode.OK, ended.err
    assert "spool: 0 blocks" in ended.out


WRONG = (
    "password = Tr0ub4dor battery",
    "password: Tr0ub4dor battery",
    'password = "Tr0ub4dor battery',
    'password = "Tr0ub4dor battery"',
    'password = { env = "Tr0ub4dor battery" }',
    'password = { file = "Tr0ub4dor battery" }',
    'password = { credential = "Tr0ub4dor battery" }',
    'password = { env = "Tr0ub4dor-battery" }',
    'password = { credential = "/Tr0ub4dor/battery" }',
)


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("doctor", "--quick"),
        ("status",),
        ("query", "SELECT 1", "--config"),
        ("bundle",),
    ],
    ids=lambda words: words[0],
)
def test_a_password_in_the_wrong_place_is_not_repeated(
    words: tuple[str, ...], line: str, config: Path, command: Any
) -> None:
    config.write_text(f'[node]\nstate_dir = "{config.parent}"\n[clickhouse]\n{line}\n')
    if words == ("bundle",):
        out = config.parent / "bundle.tar.gz"
        ended = command("support-bundle", config, "--out", out, "--quick")
        with tarfile.open(out) as archive:
            files = [archive.extractfile(each) for each in archive.getmembers()]
            shown = "".join(file.read().decode() for file in files if file is not None)
        assert "config.error.txt" in ended.out
    else:
        ended = command(*words, config)
        shown = ""
        assert ended.code != ExitCode.OK
    shown += ended.out + ended.err
    assert not any(word in shown for word in ("Tr0ub4dor", "battery")), shown


def test_a_bundle_of_a_state_directory_is_of_that_one(config: Path, command: Any) -> None:
    """Whoever may not read the file, or has none, is not given an archive of another directory."""
    (config.parent / "dumps").mkdir()
    (config.parent / "dumps" / "x.json").write_text('{"found": 1}')
    out = config.parent / "bundle.tar.gz"
    ended = command("support-bundle", config.parent, "--out", out, "--quick")
    assert ended.code == ExitCode.OK, ended.err
    assert "dumps/x.json" in ended.out
    assert "without an answer, the reason is in it: config.error.txt, status.error.txt" in ended.out


def test_a_slip_in_a_name_makes_no_bundle(config: Path, command: Any) -> None:
    out = config.parent / "bundle.tar.gz"
    ended = command("support-bundle", config.parent / "tikcd.toml", "--out", out, "--quick")
    assert ended.code == ExitCode.BAD_CONFIG
    assert "tikcd.toml: no such file" in ended.err
    assert not out.exists()


def test_the_doctor_of_a_directory_says_what_he_wants(config: Path, command: Any) -> None:
    ended = command("doctor", config.parent, "--quick")
    assert ended.code == ExitCode.FAILED
    assert "name the config file in its place" in ended.out


BROKER = """
[[accounts]]
broker = "shioaji"
name = "tw"
api_key = { credential = "key" }
secret_key = { credential = "secret" }
"""


def test_a_spool_without_a_daemon_needs_no_secret_at_all(config: Path, command: Any) -> None:
    (config.parent / "raw").mkdir()
    with config.open("a") as file:
        file.write(f"{BROKER}[sink]\nspool_bytes_max = 8388608\n")
    for action in (("list",), ("retry", "--all")):
        ended = command("spool", action[0], config, *action[1:])
        assert ended.code == ExitCode.OK, ended.err


ASK_CLICKHOUSE = [
    ("gaps", "history", "FILE"),
    ("query", "SELECT 1", "--config", "FILE"),
    ("export", "FILE", "--source", "clickhouse", "--out", "there"),
]


@pytest.mark.parametrize("words", ASK_CLICKHOUSE, ids=lambda words: words[0])
def test_what_asks_clickhouse_needs_its_secret_and_no_other(
    words: tuple[str, ...], config: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    text = config.read_text() + 'url = "http://127.0.0.1:1"\n' + BROKER
    config.write_text(text)
    typed = [str(config) if word == "FILE" else word for word in words]
    ended = command(*typed)
    assert ended.code == ExitCode.BAD_CONFIG
    assert "clickhouse.password: " in ended.err
    password = config.parent / "password"
    password.write_text("p")
    password.chmod(0o600)
    config.write_text(text.replace('credential = "clickhouse"', f'file = "{password}"'))
    ended = command(*typed)
    assert ended.code == ExitCode.FAILED, ended.err
    assert "127.0.0.1:1" in ended.err, "it did not get as far as the server"
    assert "accounts" not in ended.err


def test_what_needs_a_secret_says_where_it_was_looked_for(config: Path, command: Any) -> None:
    ended = command("check", config)
    assert ended.code == ExitCode.BAD_CONFIG
    assert f"{config.parent}/credentials/clickhouse" in ended.err
    assert "clickhouse.password" in ended.err


@pytest.mark.parametrize("words", [*ONLY_THE_SOCKET, ("spool", "list")], ids=" ".join)
@pytest.mark.usefixtures("impatient")
def test_a_daemon_that_hangs_is_said_to(words: tuple[str, ...], config: Path, command: Any) -> None:
    at = 2 if words[0] in ("risk", "order", "gaps", "spool") else 1
    with listening(config.parent, 0):
        ended = command(*words[:at], config, *words[at:])
    assert ended.code == ExitCode.FAILED
    assert "did not answer within 0.05 s: it may hang" in ended.err
    assert f"-s {'USR1' if words[:2] == ('risk', 'kill') else 'ABRT'} tickd" in ended.err


@pytest.mark.parametrize("words", [("status",), ("risk", "kill", "--reason", "x")], ids=" ".join)
@pytest.mark.usefixtures("impatient")
def test_a_shard_that_hangs_is_named_by_its_own_unit(
    words: tuple[str, ...], config: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that ends `tickd` would end another daemon than the one that hangs."""
    monkeypatch.setattr("tickd.app.service_unit._STATE", re.compile(r".*/tickd-(\d+-\d+)"))
    shard = config.parent / "tickd-0-4"
    shard.mkdir()
    at = 2 if words[0] == "risk" else 1
    with listening(shard, 0):
        ended = command(*words[:at], shard, *words[at:])
    assert ended.err.partition("--kill-whom=main -s ")[2].split()[1].rstrip(")") == "tickd@0-4"


@pytest.mark.usefixtures("impatient")
def test_the_quick_status_says_it_too_and_at_once(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(config.parent, 0), pytest.raises(SystemExit) as ended:
        quick_status([str(config)])
    assert ended.value.code == ExitCode.FAILED
    assert "it may hang" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
def test_a_daemon_that_takes_no_connections_hangs_as_well(tmp_path: Path) -> None:
    with ExitStack() as open_, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path(tmp_path)))
        server.listen(0)
        for _ in range(2):  # one waits, and the next one finds no place
            line = open_.enter_context(socket.socket(socket.AF_UNIX))
            line.setblocking(False)
            line.connect_ex(str(socket_path(tmp_path)))
        with pytest.raises(TickdError, match="it may hang"):
            asyncio.run(ask(tmp_path, "status"))


def test_who_may_not_ask_is_told_who_may(tmp_path: Path) -> None:
    told = not_answered(tmp_path, PermissionError(13, "Permission denied"))
    assert "may not be asked: Permission denied" in str(told)
    assert told.hint == "as root, or as the daemon's user"


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the kernel lets nobody look into; these tests may run as root."""
    directory = tmp_path / "private"
    (directory / "tickd").mkdir(parents=True)
    stat = Path.stat

    def guarded(self: Path, **options: Any) -> Any:
        if directory in self.absolute().parents:
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    return directory / "tickd"


@pytest.mark.parametrize(
    "words",
    [*((*each, None) for each in ONLY_THE_SOCKET[:6]), ("flight", None), ("ship", None),
     ("spool", "list", None), ("export", None, "--topics", "trade.*.*", "--out", "x")],
    ids=lambda words: str(words[0]),
)  # fmt: skip
def test_a_directory_that_may_not_be_looked_at_is_one_line(
    words: tuple[str | None, ...], locked: Path, command: Any
) -> None:
    ended = command(*(locked if word is None else word for word in words))
    assert ended.code in (ExitCode.FAILED, ExitCode.BAD_CONFIG)
    lines = ended.err.splitlines()
    assert lines == [
        f"tickd: {locked}: Permission denied",
        "  hint: as root, or as the daemon's user",
    ]


def test_the_doctor_tells_of_it_and_raises_nothing(locked: Path, tmp_path: Path) -> None:
    assert nearest(locked / "raw") == locked.parent
    assert failed(examine(locked, quick=True))
    file = tmp_path / "tickd.toml"
    file.write_text(f'[node]\nstate_dir = "{locked}"\n')
    named = {finding.name for finding in examine(file, quick=True)}
    assert {"state directory", "free space", "config"} <= named


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise PermissionError(13, "Permission denied", "/x")

    monkeypatch.setattr("shutil.disk_usage", broken)
    monkeypatch.setattr("os.geteuid", lambda: 1 // 0)
    told = [f"{each.name}: {each.words}" for each in examine(None, quick=True)]
    assert any("could not be made: ZeroDivisionError" in line for line in told)


def test_a_bundle_tells_what_it_could_not_look_at(
    locked: Path, tmp_path: Path, command: Any
) -> None:
    file, out = tmp_path / "tickd.toml", tmp_path / "b.tar.gz"
    file.write_text(f'[node]\nstate_dir = "{locked}"\n')
    ended = command("support-bundle", file, "--out", out, "--quick")
    assert ended.code == ExitCode.OK, ended.err
    with tarfile.open(out) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"doctor.json", "files.error.txt", "dumps/dumps.error.txt", "machine.txt"} <= names


def test_a_bundle_that_could_not_be_finished_is_removed(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tarfile.TarFile.addfile", full)
    file, out = tmp_path / "tickd.toml", tmp_path / "b.tar.gz"
    file.write_text(f'[node]\nstate_dir = "{tmp_path}"\n')
    ended = command("support-bundle", file, "--out", out, "--quick")
    assert ended.code == ExitCode.FAILED
    assert "No space left on device" in ended.err
    assert not out.exists()
