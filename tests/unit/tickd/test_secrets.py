"""Secrets never show themselves."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tickd.errors import ConfigError
from tickd.secrets import SECRET_BYTES_MAX, Secret, secret_from_env, secret_from_file


def test_no_way_of_printing_shows_it() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret!s} {secret:>20} {[secret]} %s" % secret
    assert "hunter2" not in shown
    assert secret.reveal() == "hunter2"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)


def test_equality_and_truth() -> None:
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")


def test_file_gives_its_text_without_the_line_break(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b" two words \r\n")
    file.chmod(0o600)
    assert secret_from_file(file) == Secret(" two words ")


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"\xff\xfe", 0o600, "not UTF-8"),
        (b"x" * (SECRET_BYTES_MAX + 1), 0o600, "longer than"),
        (b"x", 0o644, "open to everybody"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, mode: int, words: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        secret_from_file(file)


def test_missing_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        secret_from_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="KEY is not set"):
        secret_from_env("KEY", {"KEY": ""})
    assert secret_from_env("KEY", {"KEY": "v"}).reveal() == "v"
