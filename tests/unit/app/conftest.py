"""Fixtures of the program's tests: commands run in this process, and a small real raw log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tickd.app import cli
from tickd.testing.wire_log import WireLog


class Ended(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run `tickd …` in this process."""
    # Logging is of the whole process; tests/unit/app/test_logs.py tries it in one of its own.
    monkeypatch.setattr(cli, "configure_logging", lambda _: None)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tickd", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(int(code), *capsys.readouterr())

    return run


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory whose raw log has two lives, four segments and 400 messages."""
    state = tmp_path / "state"
    for seed in (1, 2):
        log = WireLog(state / "raw", seed, segment_bytes_max=5_500)
        for _ in range(10):
            log.burst(20)
            log.settle()
        log.close()
    return state
