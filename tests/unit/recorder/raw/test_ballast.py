"""The ballast file: really allocated, given back whole, never half there."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from recorder.raw.ballast import BALLAST_NAME, Ballast

SIZE = 3 << 20


def test_it_takes_real_blocks_and_gives_them_back(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path)
    assert ballast.held_bytes == 0
    before = os.statvfs(tmp_path)
    assert ballast.hold(SIZE)
    status = (tmp_path / BALLAST_NAME).stat()
    assert status.st_blocks * 512 >= SIZE
    assert status.st_mode & 0o777 == 0o600
    assert ballast.held_bytes == SIZE
    assert ballast.hold(SIZE)  # nothing to do
    assert ballast.free() == SIZE
    assert ballast.held_bytes == 0
    assert ballast.free() == 0
    assert os.statvfs(tmp_path).f_blocks == before.f_blocks


def test_a_sparse_file_is_no_ballast(tmp_path: Path) -> None:
    with (tmp_path / BALLAST_NAME).open("wb") as file:
        file.truncate(SIZE)
    ballast = Ballast(tmp_path)
    assert ballast.held_bytes == 0
    assert ballast.hold(SIZE)
    assert ballast.held_bytes == SIZE


def test_a_smaller_one_grows(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path)
    assert ballast.hold(SIZE // 2)
    assert ballast.hold(SIZE)
    assert ballast.held_bytes == SIZE


def test_without_fallocate_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    ballast = Ballast(tmp_path)
    assert ballast.hold(SIZE)
    assert ballast.held_bytes == SIZE


def test_what_cannot_be_had_leaves_nothing_behind(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "absent")
    assert not ballast.hold(SIZE)
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, hard))
    try:
        assert not Ballast(tmp_path).hold(SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert not (tmp_path / BALLAST_NAME).exists()
