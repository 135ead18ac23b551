"""What arrives at the supervisor's socket, a path and an abstract one; who may ask for time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickd.app.notifying import EXTEND_S, Lifeline, Notifier, bytes_moved, take_supervisor


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        heard.setblocking(False)
        yield heard, path


def test_lines_arrive_as_one_message(listener: tuple[socket.socket, str]) -> None:
    heard, path = listener
    Notifier(path).tell("READY=1", "STATUS=3/3 feeds live")
    assert heard.recv(4096) == b"READY=1\nSTATUS=3/3 feeds live"


def test_abstract_socket_is_reached() -> None:
    name = f"tickd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name)
        heard.setblocking(False)
        Notifier("@" + name).tell("WATCHDOG=1")
        assert heard.recv(4096) == b"WATCHDOG=1"


def test_without_a_supervisor_nothing_happens() -> None:
    notifier = Notifier(None)
    notifier.tell("READY=1")
    assert (notifier.listens, notifier.failures_total) == (False, 0)


def test_supervisor_that_is_gone_is_counted_not_raised(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.tell("WATCHDOG=1")
    assert notifier.failures_total == 1


def test_full_queue_of_the_supervisor_never_waits(listener: tuple[socket.socket, str]) -> None:
    notifier = Notifier(listener[1])
    for _ in range(100_000):
        notifier.tell("WATCHDOG=1")
        if notifier.failures_total:
            break
    assert notifier.failures_total == 1


def test_environment_names_the_supervisor_once() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": "7",
        "PATH": "/bin",
    }
    notifier, period_s = take_supervisor(environment, 7)
    assert (notifier.listens, period_s) == (True, 30.0)
    assert environment == {"PATH": "/bin"}, "a child would speak for the daemon"
    assert take_supervisor(environment, 7)[1] == 0.0


@pytest.mark.parametrize(
    ("period_us", "pid", "expected"),
    [("2000000", "", 2.0), ("2000000", "8", 0.0), ("soon", "", 0.0), ("", "7", 0.0)],
)
def test_watchdog_is_for_the_process_it_names(period_us: str, pid: str, expected: float) -> None:
    environment = {"WATCHDOG_USEC": period_us, "WATCHDOG_PID": pid}
    assert take_supervisor(environment, 7)[1] == expected


def test_lifeline_asks_only_while_bytes_move(listener: tuple[socket.socket, str]) -> None:
    heard, path = listener
    moved = iter([0, 100_000, 100_500, 100_900, 200_000])
    lifeline = Lifeline(Notifier(path), moved=lambda: next(moved))
    # A few hundred bytes are its own look.
    assert [lifeline.look() for _ in range(5)] == [False, True, False, False, True]
    assert heard.recv(4096) == f"EXTEND_TIMEOUT_USEC={EXTEND_S}000000".encode()
    heard.recv(4096)
    with pytest.raises(BlockingIOError):
        heard.recv(4096)


def test_lifeline_is_a_thread_that_ends(listener: tuple[socket.socket, str]) -> None:
    heard, path = listener
    heard.settimeout(10)
    count = iter(range(0, 1 << 40, 1 << 20))
    with Lifeline(Notifier(path), moved=lambda: next(count), look_s=0.001):
        assert heard.recv(4096).startswith(b"EXTEND_TIMEOUT_USEC=")


def test_nobody_listens_no_thread() -> None:
    lifeline = Lifeline(Notifier(None), moved=lambda: pytest.fail("looked"))
    lifeline.start()
    lifeline.stop()


def test_bytes_moved_are_those_read_and_written(tmp_path: Path) -> None:
    io = tmp_path / "io"
    io.write_text("rchar: 1000\nwchar: 24\nsyscr: 3\nread_bytes: 4096\n")
    assert bytes_moved(io) == 1024
    assert bytes_moved(tmp_path / "absent") == 0
