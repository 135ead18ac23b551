"""Method: a full disk is `/dev/full` behind a link; syncs and renames are seen at the calls."""

import os
import stat
from pathlib import Path

import pytest

from tickd.durable import replace_file, sync_directory, write_all, write_file


@pytest.fixture
def calls(monkeypatch):
    """Which files were synced and renamed, in order."""
    seen = []
    fsync, replace = os.fsync, os.replace

    def synced(fd):
        fsync(fd)
        seen.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink().name))

    def replaced(source, target):
        replace(source, target)
        seen.append(("replace", Path(target).name))

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", replaced)
    return seen


@pytest.mark.parametrize("size", [0, 1, 3, 10])
def test_a_kernel_that_takes_parts_gets_everything_in_order(tmp_path, monkeypatch, size):
    data, write = bytes(range(size)), os.write
    monkeypatch.setattr("os.write", lambda fd, data: write(fd, bytes(data[:3])))
    with (tmp_path / "file").open("wb") as file:
        assert write_all(file.fileno(), data) == size
    assert (tmp_path / "file").read_bytes() == data


def test_wide_items_are_counted_in_bytes(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        assert write_all(file.fileno(), memoryview(b"01234567").cast("Q")) == 8
    assert (tmp_path / "file").read_bytes() == b"01234567"


def test_a_file_written_anew_has_nothing_of_the_old(tmp_path, calls):
    path = tmp_path / "file"
    path.write_bytes(b"longer than the new one")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert calls == [("fsync", "file")]


def test_files_are_the_owners_unless_told_otherwise(tmp_path):
    write_file(tmp_path / "own", b"")
    replace_file(tmp_path / "shared", b"", mode=0o640)
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o640


def test_contents_are_durable_before_the_name_changes(tmp_path, calls):
    (tmp_path / "file").write_bytes(b"old")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert calls == [("fsync", "file.new"), ("replace", "file")]


def test_what_a_crash_left_unfinished_is_overwritten(tmp_path):
    (tmp_path / "file.new").write_bytes(b"half of something longer")
    replace_file(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_that_cannot_be_taken_leaves_nothing_unfinished(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "folder", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_directory_is_synced_and_a_file_is_not_taken_for_one(tmp_path, calls):
    sync_directory(tmp_path)
    assert calls == [("fsync", tmp_path.name)]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")
