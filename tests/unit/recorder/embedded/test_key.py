"""The key's file: private, stable, made anew when others could have read it."""

from __future__ import annotations

from pathlib import Path

from recorder.embedded.key import FILE_NAME, make_key, read_key


def test_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    assert not read_key(tmp_path)
    key = make_key(tmp_path)
    assert len(key.reveal()) >= 40
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert make_key(tmp_path) == key == read_key(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_key_that_others_could_read_or_that_is_empty_is_replaced(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o644)
    second = make_key(tmp_path)
    assert second != key
    (tmp_path / FILE_NAME).write_text("")
    third = make_key(tmp_path)
    assert third
    assert third != second
