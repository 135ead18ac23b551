"""Limits as an operator writes them: every violation is told, and what loosens is known."""

from __future__ import annotations

from typing import Any

import pytest

from risk.errors import LimitsError
from risk.gate import Gate
from risk.limits import LimitConfig, Limits, LimitsConfig, VenueLimitConfig, money, quantity
from risk.tightening import loosened
from tests.harness.gates import VENUE, Desk, Word, limits_of, row
from tickd.config import parse

TOML = b"""
restricted = ["sim:XYZ"]
[[limits]]
tradable = true
hours = ["mon-fri 08:45-13:45", "mon-fri 15:00-05:00"]
timezone = "Asia/Taipei"
order_qty_max = "10"
order_notional_max = "1000000.50"
collar_bps = 200
gross_max = "unlimited"
[[limits]]
instrument = "sim:ABC"
side = "B"
position_max = 3
[[venues]]
venue = "sim"
messages_max = 250
window_ms = 10000
"""


def test_a_file_becomes_a_set_with_a_hash() -> None:
    limits = Limits(parse(TOML, LimitsConfig))
    assert len(limits.rows("a", "s", "sim:ABC", "B")) == 2
    assert len(limits.rows("a", "s", "sim:ABC", "A")) == 1
    assert limits.venues["sim"].cancels_max == 50
    assert limits.hash == Limits(parse(TOML, LimitsConfig)).hash
    assert limits.hash != Limits(parse(TOML.replace(b"200", b"201"), LimitsConfig)).hash


def test_every_violation_is_told_at_once() -> None:
    config = LimitsConfig(
        limits=(
            LimitConfig(
                instrument="ABC",
                order_qty_max="-1",
                collar_bps="much",
                gross_max="1.123456789",
                executions_max=0,
                hours=("sometimes",),
                orders_window_ms=0,
                margin_pct=-1,
            ),
            LimitConfig(side="B", drawdown_max="1", hours=("always",), daily_loss_max=1),
            LimitConfig(order_qty_max=1, timezone="Nowhere/At_All"),
            LimitConfig(order_qty_max=2, hours=("always",), timezone="Nowhere/At_All"),
        ),
        venues=(
            VenueLimitConfig(venue="", messages_max=1, window_ms=0, cancel_pct=0),
            VenueLimitConfig(venue="v", messages_max=2, window_ms=1),
            VenueLimitConfig(venue="v", messages_max=2, window_ms=1),
        ),
        restricted=("XYZ",),
        period_ms=0,
    )
    with pytest.raises(LimitsError) as raised:
        Limits(config)
    text = str(raised.value)
    for part in (
        "limits[0]: instrument 'ABC' is not venue:symbol",
        "limits[0]: order_qty_max '-1' must not be negative",
        "limits[0]: collar_bps 'much' is neither a whole number nor 'unlimited'",
        "limits[0]: gross_max: '1.123456789' has more than 8 decimals",
        "limits[0]: executions_max 0 must be positive",
        "limits[0]: executions_max is for each strategy, it cannot be by instrument",
        "limits[0]: hours 'sometimes' are not like",
        "limits[0]: orders_window_ms is not between",
        "limits[0]: margin_pct -1",
        "limits[1]: drawdown_max is for each account, it cannot be by side",
        "limits[1]: hours is for both sides, it cannot be by side",
        "limits[1]: daily_loss_max is for each account, it cannot be by side",
        "limits[3]: no time zone 'Nowhere/At_All'",
        "limits[3]: order_qty_max stands in limits[2], same key and side",
        "venue ?: no name",
        "venue ?: messages_max must be at least 2",
        "venue ?: window_ms",
        "venue ?: cancel_pct 0",
        "venue v stands twice",
        "restricted 'XYZ' is not venue:symbol",
        "period_ms must be positive",
    ):
        assert part in text, part


def test_amounts_are_exact() -> None:
    assert money("0.00000001") == 1
    assert quantity("1.000000000000000001") == 10**18 + 1
    assert quantity("-0.5") == -5 * 10**17


BASE: dict[str, Any] = {"gross_max": "100", "order_qty_max": "5", "orders_max": 10}


def lines(old: LimitConfig, new: LimitConfig, **settings: Any) -> list[str]:
    return loosened(limits_of(old), limits_of(new, **settings))


def test_tighter_is_no_loosening() -> None:
    tight = {"gross_max": "99.5", "order_qty_max": 4, "orders_max": 3, "daily_loss_max": "5"}
    assert lines(row(**BASE), row(**BASE)) == []
    assert lines(row(**BASE), row(**tight)) == []
    assert lines(row(**BASE), row(**BASE, restricted=True, margin_pct=120)) == []
    hours = {"hours": ("mon-fri 09:00-10:00",)}
    assert lines(row(**BASE), row(**{**BASE, **hours})) == []
    assert loosened(limits_of(row(**BASE)), limits_of(row(**BASE), restricted=("sim:ABC",))) == []
    extra = LimitConfig(strategy="s", gross_max="10")
    assert loosened(limits_of(row(**BASE)), limits_of(row(**BASE), extra)) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"gross_max": "100.00000001"}, "gross_max of all: 100 -> 100.00000001"),
        ({"gross_max": "unlimited"}, "gross_max of all: 100 -> unlimited"),
        ({"order_qty_max": 6}, "order_qty_max of all: 5 -> 6"),
        ({"orders_window_ms": 500}, "orders_window_ms of all: 1000 -> 500"),
        ({"gross_max": None}, "gross_max of all is gone"),
        ({"self_trade": "allow"}, "self_trade of all is allowed"),
    ],
)
def test_what_loosens_is_told(change: dict[str, Any], line: str) -> None:
    assert line in lines(row(**BASE), row(**{**BASE, **change}))


def test_a_deny_of_self_trades_that_is_gone_loosens_where_others_allow() -> None:
    wide, deny = row(self_trade="allow"), LimitConfig(strategy="s", self_trade="deny")
    line = "self_trade of strategy=s = deny is gone"
    assert loosened(limits_of(wide, deny), limits_of(wide)) == [line]
    other = LimitConfig(strategy="s", gross_max="1")
    assert loosened(limits_of(wide, deny), limits_of(wide, other)) == [line]
    allow = LimitConfig(strategy="s", self_trade="allow")
    assert loosened(limits_of(wide, deny), limits_of(wide, allow)) == [
        "self_trade of strategy=s is allowed"
    ]
    assert loosened(limits_of(row(), deny), limits_of(row())) == [], "nothing is allowed"
    assert loosened(limits_of(wide), limits_of(wide, deny)) == []
    # Twice under one key, the tighter counts, whichever stands first.
    both = [deny, LimitConfig(strategy="s", self_trade="allow")]
    for rows in (both, both[::-1]):
        assert loosened(limits_of(wide, deny), limits_of(wide, *rows)) == []


def test_what_was_missing_denied() -> None:
    old = limits_of(LimitConfig(account="a", gross_max="1"))
    assert loosened(old, limits_of(LimitConfig(account="a", gross_max="1"), row()))
    new = limits_of(LimitConfig(account="a", gross_max="1", net_max="1"))
    assert loosened(old, new) == [
        "net_max of account=a was missing, which denied",
    ]


def test_what_no_row_says_has_a_meaning_too() -> None:
    margin = "margin_pct of all: 100, as nothing said -> 1"
    assert lines(row(**BASE), row(**BASE, margin_pct=1)) == [margin]
    one = LimitConfig(instrument="sim:ABC", margin_pct=99)
    assert loosened(limits_of(row(**BASE)), limits_of(row(**BASE), one)) == [
        "margin_pct of instrument=sim:ABC: 100, as nothing said -> 99"
    ]
    # The largest counts: under a row that says more, a small one changes nothing.
    more = row(**BASE, margin_pct=50)
    assert loosened(limits_of(more), limits_of(more, one)) == []
    assert loosened(limits_of(more), limits_of(more, LimitConfig(margin_pct=1))) == []


def test_of_what_stands_twice_the_tighter_is_compared() -> None:
    first, second = LimitConfig(margin_pct=120), LimitConfig(margin_pct=50, side="B")
    old = limits_of(row(**BASE), first, second)
    assert loosened(old, limits_of(row(**BASE), second, LimitConfig(margin_pct=120, side="A"))) == [
        "margin_pct of side=B: 120 -> 50"
    ]
    banned, allowed = LimitConfig(tradable=False), LimitConfig(account="a", tradable=True)
    both = limits_of(banned, allowed, LimitConfig(tradable=True))
    assert "tradable of all is new" in loosened(
        both, limits_of(allowed, LimitConfig(tradable=True))
    )


def test_venues_hours_and_lists_loosen_too() -> None:
    base = row(hours=("mon-fri 09:00-10:00",), restricted=True)
    wider = row(hours=("mon-fri 09:00-10:01",))
    assert "hours of all are open when they were not" in lines(base, wider)
    assert "restricted of all is gone" in lines(base, wider)
    zone = row(hours=("mon-fri 09:00-10:00",), timezone="Asia/Taipei", restricted=True)
    assert "hours of all are open when they were not" in lines(base, zone)
    more = (VenueLimitConfig(venue=VENUE, messages_max=1_000_001, window_ms=1_000),)
    assert lines(row(), row(), venues=more) == [f"venue {VENUE} may get more messages"]
    assert loosened(limits_of(row(), restricted=("sim:A",)), limits_of(row())) == [
        "restricted: sim:A is gone"
    ]
    assert lines(row(), row(), period_ms=20_000) == ["period_ms: 10000 -> 20000 is not comparable"]


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_reload_only_tightens_while_armed(backend: Any) -> None:
    desk = Desk(backend, row(order_qty_max="5"))
    loose, tight = limits_of(row(order_qty_max="6")), limits_of(row(order_qty_max="4"))
    with pytest.raises(LimitsError, match="order_qty_max of all: 5 -> 6"):
        desk.gate.reload(loose)
    assert desk.reason(size=6) == "MAX_ORDER_QTY"
    desk.gate.reload(tight)
    assert [desk.reason(size=5), desk.reason(size=4)] == ["MAX_ORDER_QTY", "-"]
    assert desk.position() == (0, 4, 0), "what is out stays reserved"
    desk.halt.trip()
    desk.gate.reload(loose)
    desk.halt.word &= ~1
    assert desk.reason(size=6) == "-"
    assert desk.gate.limits.hash == loose.hash


def test_backends_are_chosen_by_name() -> None:
    assert Gate(limits_of(), halt=Word(), backend="numpy").backend == "numpy"
    assert Gate(limits_of(), halt=Word()).backend in {"native", "numpy"}
