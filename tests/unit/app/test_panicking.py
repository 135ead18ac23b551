"""`tickd panic` and the cancellers behind it: every account of a file, without a daemon."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from risk.brokers.port import AccountSection, BrokerKind
from risk.brokers.registry import find
from risk.panic import cancel_everywhere
from tests.harness.trading_world import config_of, text_of
from tickd.app.config import load_config
from tickd.app.exit_codes import ExitCode
from tickd.app.panicking import cancellers_in, cancellers_of
from tickd.clock import SystemClock
from tickd.errors import ConfigError

# Nobody listens on port 1.
BINANCE = """
[[accounts]]
broker = "binance"
name = "usdm"
market = "usdm"
symbols = ["AAAUSDT"]
api_key_file = "{folder}/key"
secret_key_file = "{folder}/secret"
rest_url = "http://127.0.0.1:1"
query_tries = 1
query_timeout_s = 1.0
cancel_all_timeout_s = 2.0
"""
SHIOAJI = """
[[accounts]]
broker = "shioaji"
name = "tw"
api_key = {{ credential = "nobody-has-this" }}
"""


def file_of(folder: Path, more: str = "") -> Path:
    path = folder / "tickd.toml"
    path.write_text(text_of(folder / "state", more=more.format(folder=folder)))
    return path


def test_paper_accounts_are_left_out_and_that_is_no_success(tmp_path: Path, command: Any) -> None:
    """Their orders live in the daemon: nobody outside can say that nothing is left."""
    ended = command("panic", "--cancel-all", file_of(tmp_path))
    assert ended.code == ExitCode.FAILED
    assert "nothing was cancelled" in ended.out
    ended = command("panic", "--cancel-all", "--json", file_of(tmp_path))
    assert json.loads(ended.out) == []
    assert not (tmp_path / "state").exists(), "it uses nothing of a daemon"


def test_nothing_is_cancelled_by_a_slip(tmp_path: Path, command: Any) -> None:
    ended = command("panic", file_of(tmp_path))
    assert ended.code == ExitCode.BAD_CONFIG
    assert "--cancel-all" in ended.err


def test_a_file_that_is_none_is_wrong_use(tmp_path: Path, command: Any) -> None:
    assert command("panic", "--cancel-all", tmp_path / "none.toml").code == ExitCode.BAD_CONFIG


@pytest.mark.parametrize("has_key", [True, False])
def test_an_account_that_cannot_be_asked_fails(tmp_path: Path, command: Any, has_key: bool) -> None:
    for name in ("key", "secret") if has_key else ():
        (tmp_path / name).write_text("a-key-of-nobody")
        (tmp_path / name).chmod(0o600)
    ended = command("panic", "--cancel-all", "--json", file_of(tmp_path, BINANCE))
    assert ended.code == ExitCode.FAILED
    (row,) = json.loads(ended.out)
    assert row["account"] == "usdm"
    assert row["left"] != 0
    assert "a-key-of-nobody" not in ended.out + ended.err


def test_of_several_accounts_only_those_of_venues_are_asked(tmp_path: Path) -> None:
    config = config_of(tmp_path, more=BINANCE.format(folder=tmp_path))
    assert [name for name, _ in cancellers_of(config.accounts, SystemClock())] == ["usdm"]


@pytest.mark.parametrize(
    "wrong",
    [
        '[clickhouse]\npassword = {{ credential = "nobody-has-this" }}\n',
        "[http]\nno_such_key = 1\n",
        SHIOAJI,
    ],
)
def test_no_other_section_and_no_other_account_keeps_one_from_cancelling(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickd.secrets.CREDENTIAL_SOURCE", tmp_path / "credentials")
    for name in ("key", "secret"):
        (tmp_path / name).write_text("a-key-of-nobody")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "tickd.toml"
    file.write_text((BINANCE + wrong).format(folder=tmp_path))
    with pytest.raises(ConfigError):
        load_config(file)
    cancellers = dict(cancellers_in(file, {}, SystemClock()))
    assert list(cancellers) == (["usdm", "tw"] if "tw" in wrong else ["usdm"])
    outcomes = asyncio.run(cancel_everywhere(list(cancellers.items())))
    assert "nobody-has-this" not in outcomes[0].fault
    for outcome in outcomes[1:]:
        assert outcome.left is None
        assert f"{tmp_path}/credentials/nobody-has-this" in outcome.fault


def test_a_broker_that_cannot_be_imported_keeps_no_other_from_cancelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, more=BINANCE.format(folder=tmp_path))

    def none_found(section: AccountSection) -> BrokerKind:
        if section.name == "usdm":
            raise ImportError("broken install")
        return find(section)

    monkeypatch.setattr("tickd.app.panicking.find", none_found)
    cancellers = cancellers_of(config.accounts, SystemClock())
    (outcome,) = asyncio.run(cancel_everywhere(cancellers))
    assert (outcome.account, outcome.left) == ("usdm", None)
    assert "broken install" in outcome.fault


def test_accounts_that_are_no_tables_are_wrong_use(tmp_path: Path, command: Any) -> None:
    file = tmp_path / "tickd.toml"
    file.write_text("accounts = 3\n")
    ended = command("panic", "--cancel-all", file)
    assert ended.code == ExitCode.BAD_CONFIG
    assert "[[accounts]]" in ended.err
