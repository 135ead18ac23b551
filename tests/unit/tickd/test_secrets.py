"""Secrets never show themselves."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tickd.errors import ConfigError
from tickd.secrets import (
    SECRET_BYTES_MAX,
    Secret,
    secret_from_credential,
    secret_from_env,
    secret_from_file,
)


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


@pytest.mark.parametrize("file_name", ["clickhouse", "tickd_clickhouse"])
def test_credential_is_a_file_that_systemd_made(tmp_path: Path, file_name: str) -> None:
    (tmp_path / file_name).write_text("v\n")
    (tmp_path / file_name).chmod(0o440)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert secret_from_credential("clickhouse", environment) == Secret("v")


def test_credential_of_its_own_goes_before_the_directorys(tmp_path: Path) -> None:
    for name in ("tickd_key", "key"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o400)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert secret_from_credential("key", environment).reveal() == "key"


def test_credential_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="key is not in"):
        secret_from_credential("key", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize("passed", [{}, {"CREDENTIALS_DIRECTORY": "/nonexistent/credentials"}])
def test_by_hand_a_credential_is_the_file_that_systemd_would_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: dict[str, str]
) -> None:
    monkeypatch.setattr("tickd.secrets.CREDENTIAL_SOURCE", tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path}/key: No such file") as refused:
        secret_from_credential("key", passed)
    assert f"systemd passes {tmp_path}/key" in str(refused.value.hint)
    (tmp_path / "key").write_text("v\n")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigError, match="open to everybody"):
        secret_from_credential("key", passed)
    (tmp_path / "key").chmod(0o600)
    assert secret_from_credential("key", passed).reveal() == "v"
    assert secret_from_credential("tickd_key", passed).reveal() == "v", "as the unit calls it"


def test_what_was_passed_is_not_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "key").write_text("v")
    (tmp_path / "source" / "key").chmod(0o600)
    monkeypatch.setattr("tickd.secrets.CREDENTIAL_SOURCE", tmp_path / "source")
    with pytest.raises(ConfigError, match="key is not in"):
        secret_from_credential("key", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize("name", ["", "../key", "/etc/shadow", ".", "..", "a/b"])
def test_name_of_a_credential_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a credential"):
        secret_from_credential(name, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
