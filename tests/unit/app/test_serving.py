"""The loopback venues as commands: what the system refuses is one sentence."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("option", ["--ws-port", "--rest-port"])
def test_a_port_that_is_taken_is_told_without_a_traceback(command, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = command("sim", option, taken.getsockname()[1])
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("tickd: cannot serve: ")
    assert "in use" in ended.err
