"""`tickd status` at once: the same answer, nothing needless loaded, all else left to the others."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tickd.app.asking import state_dir_of
from tickd.app.config import load_config
from tickd.app.quick_status import quick_status

HEAVY = {"numpy", "msgspec", "structlog", "cyclopts", "asyncio", "aiohttp", "prometheus_client"}
ANSWER = {"state": "recording", "frames": 3, "empty": [], "nothing": None, "words": "frames → rows"}


@contextmanager
def answering(state_dir: Path, answer: bytes) -> Iterator[list[bytes]]:
    """A daemon's socket that gives one answer, in two pieces; yields what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(state_dir / "control.sock"))
        server.listen()

        def serve() -> None:
            line, _ = server.accept()
            with line:
                asked.append(line.recv(4096))
                line.sendall(answer[:5])
                line.sendall(answer[5:])

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def test_json_is_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, json.dumps({"result": ANSWER}).encode() + b"\n") as asked:
        assert quick_status([str(tmp_path), "--json"])
    out = capsys.readouterr().out
    assert json.loads(out) == ANSWER
    assert "frames → rows" in out
    assert asked == [b'{"command": "status"}\n']


@pytest.mark.parametrize(
    "answer", [b'{"error": "no", "hint": null}\n', b"", b"not JSON\n", b"[]\n"]
)
def test_an_answer_that_is_none_is_left_to_the_command_line(
    tmp_path: Path, answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, answer):
        assert not quick_status([str(tmp_path)])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [[], ["--help"], ["--topics", "x"], ["a", "b"], ["--jsn", "x"]])
def test_other_options_are_left_to_the_command_line(options: list[str]) -> None:
    assert not quick_status(options)


def test_without_a_daemon_or_a_file_the_command_line_explains(tmp_path: Path) -> None:
    assert not quick_status([str(tmp_path)])
    assert not quick_status([str(tmp_path / "none.toml")])
    broken = tmp_path / "broken.toml"
    for text in ("node = 3\n", "[node\n", "[node]\nstate_dir = 3\n"):
        broken.write_text(text)
        assert not quick_status([str(broken)])


@pytest.mark.parametrize("text", ["", '[node]\nstate_dir = "/var/lib/x"\n', "[node]\nid = 7\n"])
@pytest.mark.parametrize("named", [None, "/elsewhere"])
def test_the_state_directory_is_the_one_that_a_daemon_has(
    tmp_path: Path, text: str, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TICKD__NODE__STATE_DIR", raising=False)
    if named is not None:
        monkeypatch.setenv("TICKD__NODE__STATE_DIR", named)
    file = tmp_path / "tickd.toml"
    file.write_text(text)
    assert state_dir_of(file) == load_config(file).state_dir
    assert state_dir_of(tmp_path) == tmp_path


def test_nothing_needless_is_loaded() -> None:
    """In a process of its own: this one has loaded everything."""
    code = (
        "import sys, tickd.__main__, tickd.app.quick_status, tickd.app.screen,"
        " tickd.app.trading_screen; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert not HEAVY & set(done.stdout.split())
