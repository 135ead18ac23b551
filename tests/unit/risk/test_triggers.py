"""The automatic triggers: each fires at its limit and not before; 0 switches it off."""

from __future__ import annotations

import msgspec
import pytest

from risk.config import RiskConfig, TriggersConfig
from risk.triggers import Triggers

MS = 1_000_000
S = 1_000_000_000
OFF = TriggersConfig(
    daily_loss_max=0,
    rejects_max=0,
    lag_ms_max=0,
    gap_ms_max=0,
    clock_jump_ms_max=0,
    undurable_ms_max=0,
)


def test_a_daily_loss_fires_at_its_limit() -> None:
    triggers = Triggers(TriggersConfig(daily_loss_max=100))
    assert triggers.daily_loss("a", -99) is None
    assert triggers.daily_loss("a", 1_000) is None
    assert "a lost 100" in str(triggers.daily_loss("a", -100))


def test_a_storm_is_so_many_rejects_of_one_account_in_the_window() -> None:
    triggers = Triggers(TriggersConfig(rejects_max=3, rejects_window_s=1.0))
    for account in ("a", "b"):
        assert triggers.rejected(account, 0) is None
        assert triggers.rejected(account, S // 2) is None
    assert triggers.rejected("a", S + 1) is None  # the first has left the window
    assert "account a" in str(triggers.rejected("a", S + S // 2))
    assert "account b" in str(triggers.rejected("b", S))


def test_slow_rejects_never_make_a_storm() -> None:
    triggers = Triggers(TriggersConfig(rejects_max=3, rejects_window_s=1.0))
    assert not any(triggers.rejected("a", number * S) for number in range(1_000))


def test_lag_fires_when_it_lasts() -> None:
    triggers = Triggers(TriggersConfig(lag_ms_max=100, lag_hold_ms=1_000))
    assert triggers.lag("f", 101, 0) is None
    assert triggers.lag("g", 500, 999 * MS) is None  # a feed of its own
    assert triggers.lag("f", 100, 500 * MS) is None  # caught up: begins anew
    assert triggers.lag("f", 200, 600 * MS) is None
    assert triggers.lag("f", 200, 1_599 * MS) is None
    assert "f is 200 ms late" in str(triggers.lag("f", 200, 1_600 * MS))


def test_a_gap_fires_when_it_lasts() -> None:
    triggers = Triggers(TriggersConfig(gap_ms_max=1_000))
    assert triggers.gap("okx:A", 5 * S, 5 * S + 999 * MS) is None
    assert "okx:A is not whole since 1000 ms" in str(triggers.gap("okx:A", 5 * S, 6 * S))


@pytest.mark.parametrize("jump_ms", [-1_001, 1_001])
def test_a_jump_of_the_wall_clock_fires_either_way(jump_ms: int) -> None:
    triggers = Triggers(TriggersConfig(clock_jump_ms_max=1_000))
    assert triggers.clock(5 * S, 0) is None
    assert triggers.clock(6 * S + 1_000 * MS, S) is None
    assert "clock jump" in str(triggers.clock(7 * S + (1_000 + jump_ms) * MS, 2 * S))
    assert triggers.clock(8 * S + (1_000 + jump_ms) * MS, 3 * S) is None  # once


def test_a_slept_machine_is_no_jump_of_one_clock() -> None:
    triggers = Triggers(TriggersConfig())
    assert triggers.clock(0, 0) is None
    assert triggers.clock(3_600 * S, 3_600 * S) is None


def test_a_recorder_that_stays_undurable_fires() -> None:
    triggers = Triggers(TriggersConfig(undurable_ms_max=1_000))
    assert triggers.recorder("disk full", 0) is None
    assert triggers.recorder(None, 900 * MS) is None
    assert triggers.recorder("disk full", 950 * MS) is None
    assert triggers.recorder("disk full", 1_949 * MS) is None
    assert "disk full" in str(triggers.recorder("disk full", 1_950 * MS))


def test_nought_switches_a_rule_off() -> None:
    triggers = Triggers(OFF)
    assert triggers.daily_loss("a", -(10**18)) is None
    assert not any(triggers.rejected("a", 0) for _ in range(100))
    assert not any(triggers.lag("f", 1e9, now) for now in (0, 10**15))
    assert not any(triggers.gap("f", 0, now) for now in (0, 10**15))
    assert not any(triggers.clock(wall, 0) for wall in (0, 10**18))
    assert not any(triggers.recorder("gone", now) for now in (0, 10**15))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TriggersConfig, {"daily_loss_max": -1}),
        (TriggersConfig, {"rejects_max": 1}),
        (TriggersConfig, {"rejects_window_s": 0.0}),
        (RiskConfig, {"panic_after_ms": 0}),
        (RiskConfig, {"panic_after_ms": 100, "disk_wait_ms": 101}),
        (RiskConfig, {"arm_token_s": 0.0}),
        (RiskConfig, {"auto_arm": True}),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    kind: type[msgspec.Struct], fields: dict[str, object]
) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, kind)
