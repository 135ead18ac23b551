"""`tickd panic` and the cancellers behind it: every account of a file, without a daemon."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from risk.panic import cancel_everywhere
from tests.harness.trading_world import config_of, living, text_of
from tickd.app.exit_codes import ExitCode
from tickd.app.panicking import cancellers_of
from tickd.clock import SystemClock

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


def file_of(folder: Path, more: str = "") -> Path:
    path = folder / "tickd.toml"
    path.write_text(text_of(folder / "state", more=more.format(folder=folder)))
    return path


def test_paper_accounts_are_clear_without_their_daemon(tmp_path: Path, command: Any) -> None:
    ended = command("panic", "--cancel-all", file_of(tmp_path))
    assert ended.code == ExitCode.OK
    assert len(ended.out.splitlines()) >= 2
    ended = command("panic", "--cancel-all", "--json", file_of(tmp_path))
    assert [row["account"] for row in json.loads(ended.out)] == ["one", "two"]
    assert not (tmp_path / "state").exists(), "it uses nothing of a daemon"


def test_nothing_is_cancelled_by_a_slip(tmp_path: Path, command: Any) -> None:
    ended = command("panic", file_of(tmp_path))
    assert ended.code == ExitCode.BAD_CONFIG
    assert "--cancel-all" in ended.err


def test_a_file_that_is_none_is_wrong_use(tmp_path: Path, command: Any) -> None:
    assert command("panic", "--cancel-all", tmp_path / "none.toml").code == ExitCode.BAD_CONFIG


@pytest.mark.parametrize("has_key", [True, False])
def test_an_account_that_cannot_be_asked_fails_and_holds_up_no_other(
    tmp_path: Path, command: Any, has_key: bool
) -> None:
    for name in ("key", "secret") if has_key else ():
        (tmp_path / name).write_text("a-key-of-nobody")
        (tmp_path / name).chmod(0o600)
    ended = command("panic", "--cancel-all", "--json", file_of(tmp_path, BINANCE))
    assert ended.code == ExitCode.FAILED
    rows = {row["account"]: row for row in json.loads(ended.out)}
    assert (rows["one"]["left"], rows["two"]["left"]) == (0, 0)
    assert rows["usdm"]["left"] != 0
    assert "a-key-of-nobody" not in ended.out + ended.err


async def test_beside_a_daemon_it_leaves_the_daemons_paper_orders_alone(tmp_path: Path) -> None:
    """They are in the daemon's process: what is left of them is the daemon's to say."""
    config = config_of(tmp_path)
    async with living(config) as world:
        await world.ready()
        client_id = world.submit(price=9_990)
        await world.state(client_id, "accepted")
        cancellers = cancellers_of(config.accounts, SystemClock())
        outcomes = await cancel_everywhere(cancellers, deadline_s=10)
        assert [each.account for each in outcomes] == ["one", "two"]
        await asyncio.sleep(0)
        assert world.states(client_id)[-1] == "accepted"
