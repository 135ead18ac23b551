"""`tickd rebuild`: what it refuses before it touches anything."""

from __future__ import annotations

import socket
from pathlib import Path

from tickd.app.exit_codes import ExitCode


def test_a_state_directory_needs_a_daemon_that_answers(command, state_dir: Path) -> None:
    refused = command("rebuild", state_dir)
    assert refused.code == ExitCode.BAD_CONFIG
    assert "no daemon runs in" in refused.err
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(state_dir / "control.sock"))
    refused = command("rebuild", state_dir)
    assert refused.code == ExitCode.BAD_CONFIG
    assert "name the config file" in refused.err
    assert not (state_dir / "clickhouse").exists()
