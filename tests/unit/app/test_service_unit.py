"""Which unit a daemon is: by a /proc and a state directory that the test writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tickd.app.service_unit import unit_in_words, unit_of_process, unit_of_state

PID = 4711
SHARD = "0::/system.slice/system-tickd.slice/tickd@0-4.service"


def process(proc: Path, *groups: str, pid: int | str = PID) -> Path:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "cgroup").write_text("".join(f"{group}\n" for group in groups))
    return proc


def locked(state_dir: Path, holder: str = f"{PID}\n") -> Path:
    (state_dir / "raw").mkdir(parents=True)
    (state_dir / "raw" / "LOCK").write_text(holder)
    return state_dir


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        (["0::/system.slice/tickd.service"], "tickd"),
        ([SHARD], "tickd@0-4"),
        # cgroup v1 and its hybrid: one line says it.
        (["4:memory:/", "1:name=systemd:/system.slice/tickd@3-4.service", "0::/"], "tickd@3-4"),
        (["0::/system.slice/tickd-paper.service"], "tickd-paper"),
        (["0::/system.slice/tickd@eu\\x2dwest.service"], "tickd@eu\\x2dwest"),
        # By hand, in a container, out of cron: no unit of tickd's, and no other program's either.
        (["0::/user.slice/user-1000.slice/session-3.scope"], None),
        (["0::/system.slice/docker-2f1c.scope"], None),
        (["0::/system.slice/cron.service"], None),
        (["0::/system.slice/nottickd.service"], None),
        (["0::/tickd.service/below"], None),
        (["0::/"], None),
        ([], None),
    ],
)
def test_the_control_group_names_the_unit(
    groups: list[str], unit: str | None, tmp_path: Path
) -> None:
    assert unit_of_process(PID, proc=process(tmp_path, *groups)) == unit
    assert unit_of_process("self", proc=process(tmp_path, *groups, pid="self")) == unit


def test_a_daemon_that_is_mute_is_found_by_its_lock(tmp_path: Path) -> None:
    proc = process(tmp_path / "proc", SHARD)
    assert unit_of_state(locked(tmp_path / "state"), proc=proc) == "tickd@0-4"


@pytest.mark.parametrize("holder", ["", "\n", "no number\n", "../4711\n", "999999\n"])
def test_a_lock_that_says_nothing_leaves_the_usual_name(holder: str, tmp_path: Path) -> None:
    proc = process(tmp_path / "proc", SHARD)
    assert unit_of_state(locked(tmp_path / "state", holder), proc=proc) == "tickd"
    assert unit_of_state(tmp_path / "none", proc=proc) == "tickd"


@pytest.mark.parametrize(
    ("state_dir", "unit"),
    [
        ("/var/lib/tickd-0-4", "tickd@0-4"),
        ("/var/lib/private/tickd-11-16", "tickd@11-16"),
        ("/var/lib/tickd", "tickd"),
        ("/srv/tickd-0-4", "tickd"),
        ("/var/lib/tickd-0-4/deeper", "tickd"),
    ],
)
def test_who_may_not_read_the_lock_goes_by_the_directory(
    state_dir: str, unit: str, tmp_path: Path
) -> None:
    assert unit_of_state(Path(state_dir), proc=tmp_path) == unit


def test_a_stale_lock_names_no_other_program(tmp_path: Path) -> None:
    """The number may have gone to another process: here our own, of no unit of tickd's."""
    proc = process(tmp_path / "proc", "0::/system.slice/sshd.service", pid=os.getpid())
    assert unit_of_state(locked(tmp_path / "state", f"{os.getpid()}\n"), proc=proc) == "tickd"


def test_a_name_with_a_backslash_can_be_pasted(tmp_path: Path) -> None:
    proc = process(tmp_path / "proc", "0::/system.slice/tickd@eu\\x2dwest.service")
    assert unit_in_words(locked(tmp_path / "state"), proc=proc) == "'tickd@eu\\x2dwest'"
