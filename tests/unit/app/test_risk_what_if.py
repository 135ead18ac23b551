"""`tickd risk what-if`: what it prints of a recorded session, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from risk.errors import LimitsError
from tests.unit.backtest.test_what_if import small_session
from tickd.app.commands.risk_what_if import read_limits, risk_what_if
from tickd.app.exit_codes import ExitCode
from tickd.errors import ConfigError

LIMITS = """
[[risk.venues]]
venue = "binance-usdm"
messages_max = 1000
window_ms = 1000

[[risk.limits]]
tradable = true
hours = ["always"]
order_qty_max = "{qty}"
order_notional_max = "unlimited"
collar_bps = "unlimited"
period_collar_bps = "unlimited"
reference_age_ms_max = 60000
position_max = "unlimited"
gross_max = "unlimited"
net_max = "unlimited"
open_orders_max = "unlimited"
orders_max = "unlimited"
duplicate_window_ms = "unlimited"
executions_max = "unlimited"
cancel_ratio_pct_max = "unlimited"
daily_loss_max = "unlimited"
drawdown_max = "unlimited"
free_balance_min = "unlimited"
account_age_ms_max = "unlimited"
"""


def limits_file(directory: Path, qty: str, more: str = "") -> Path:
    path = directory / "other.toml"
    path.write_text(LIMITS.format(qty=qty) + more)
    return path


def test_what_differs_is_printed_with_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_session(tmp_path / "raw")
    wider = limits_file(tmp_path, "0.020")
    assert risk_what_if(tmp_path, limits=wider) == ExitCode.OK
    said = capsys.readouterr().out
    assert "4 decisions, 4 judged" in said
    assert "3 the same, 1 otherwise" in said
    assert "1  MAX_ORDER_QTY → approved" in said
    assert "order 3 new s main binance-usdm:BTCUSDT B 11 @ 6000000" in said


def test_json_has_every_kind_of_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_session(tmp_path / "raw")
    tighter = limits_file(tmp_path, "0.005")
    risk_what_if(tmp_path, limits=tighter, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["limits"] == read_limits(tighter).hash
    (change,) = said["changed"]
    assert (change["was"], change["now"], change["count"]) == ("approved", "MAX_ORDER_QTY", 1)
    assert change["examples"][0]["figures"]["limit"] == 5
    risk_what_if(tmp_path, limits=tighter, to_time="2020-01-01", as_json=True)
    assert json.loads(capsys.readouterr().out)["decisions"] == 0


def test_limits_are_read_out_of_a_config_file_as_well(tmp_path: Path) -> None:
    alone = read_limits(limits_file(tmp_path, "1"))
    within = read_limits(limits_file(tmp_path, "1", '[risk]\nlatch = "x"\n[node]\nid = 1\n'))
    bare = tmp_path / "bare.toml"
    bare.write_text(LIMITS.format(qty="1").replace("risk.", ""))
    assert alone.hash == within.hash == read_limits(bare).hash


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="says no limits"):
        risk_what_if(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_limits(tmp_path / "none.toml")
    for text in ("limits = 5", "risk = 5", "nope = 1", "limits = ["):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(ConfigError, match=r"bad\.toml"):
            read_limits(tmp_path / "bad.toml")
    with pytest.raises(LimitsError, match="order_qty_max"):
        read_limits(limits_file(tmp_path, "much"))
