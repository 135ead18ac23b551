"""What a new set of limits loosens against the one in force. Pure.

A value that is larger where smaller is tighter, a row that is gone, a limit where there was none
(the gate denied there): each has its line. What cannot be compared counts as loosening.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from risk.limits import (
    AMOUNTS,
    MARGIN_PCT,
    MONEY_FIELDS,
    QTY_FIELDS,
    UNLIMITED,
    Amount,
    LimitConfig,
    Limits,
    VenueLimitConfig,
    money,
    quantity,
)
from risk.trading_hours import parse_hours

__all__ = ["loosened"]

# More is tighter.
_MORE: Final = ("free_balance_min", "duplicate_window_ms")
_WINDOWS: Final = {"orders_max": "orders_window_ms", "executions_max": "executions_window_ms"}
_SIDES: Final = ("B", "A")
_Key = tuple[tuple[str, str, str], str]


def loosened(old: Limits, new: Limits) -> list[str]:
    """Every way in which `new` lets more through than `old`; empty: it only tightens."""
    return [
        *_folded([*_amounts(old, new), *_switches(old, new)]),
        *_venues(old, new),
        *(f"restricted: {name} is gone" for name in sorted(old.restricted - new.restricted)),
        *(
            f"{name}: {getattr(old.config, name)} -> {getattr(new.config, name)} is not comparable"
            for name in ("period_ms", "cancel_ratio_window_ms")
            if getattr(old.config, name) != getattr(new.config, name)
        ),
        *(
            ["cancel_ratio_orders_min is larger"]
            if new.config.cancel_ratio_orders_min > old.config.cancel_ratio_orders_min
            else []
        ),
    ]


def _folded(lines: list[str]) -> Iterator[str]:
    """One line where both sides have the same."""
    for line in lines:
        if line.replace("side=A", "side=B") in lines and "side=A" in line:
            continue
        if "side=B" in line and line.replace("side=B", "side=A") in lines:
            yield line.replace("of side=B", "of all").replace(" side=B", "")
        else:
            yield line


def _given(limits: Limits, name: str) -> dict[_Key, LimitConfig]:
    """What a key says; of what may stand twice, the tighter, as the gate takes it."""
    given: dict[_Key, LimitConfig] = {}
    for row in limits.config.limits:
        if getattr(row, name) is None:
            continue
        for side in (row.side,) if row.side else _SIDES:
            other = given.get((row.key, side))
            if other is None or _is_tighter(name, row, other):
                given[row.key, side] = row
    return given


def _is_tighter(name: str, row: LimitConfig, other: LimitConfig) -> bool:
    if name == "margin_pct":
        return (row.margin_pct or 0) > (other.margin_pct or 0)
    if name == "self_trade":
        return row.self_trade == "deny"
    return name == "tradable" and row.tradable is False


def _is_under(rows: dict[_Key, LimitConfig], key: _Key) -> bool:
    """Whether everything of this key had a value: a row of it or of a part of it."""
    (account, strategy, instrument), side = key
    return any(row.covers(account, strategy, instrument, side) for row in rows.values())


def _label(key: _Key, name: str) -> str:
    (account, strategy, instrument), side = key
    parts = {"account": account, "strategy": strategy, "instrument": instrument, "side": side}
    return f"{name} of " + (" ".join(f"{k}={v}" for k, v in parts.items() if v) or "all")


def _amounts(old: Limits, new: Limits) -> Iterator[str]:
    for name in (*AMOUNTS, "margin_pct"):
        before, after = _given(old, name), _given(new, name)
        for key, row in before.items():
            was = getattr(row, name)
            if was == UNLIMITED:
                continue
            if key not in after:
                yield f"{_label(key, name)} is gone"
                continue
            now = getattr(after[key], name)
            if _is_looser(name, was, now):
                yield f"{_label(key, name)}: {was} -> {now}"
            yield from _window(name, key, row, after[key])
        for key in after.keys() - before.keys():
            if _is_under(before, key):
                continue
            now = getattr(after[key], name)
            if name != "margin_pct":
                yield f"{_label(key, name)} was missing, which denied"
            elif now < MARGIN_PCT:
                yield f"{_label(key, name)}: {MARGIN_PCT}, as nothing said -> {now}"


def _window(name: str, key: _Key, was: LimitConfig, now: LimitConfig) -> Iterator[str]:
    window = _WINDOWS.get(name)
    if window and getattr(now, window) < getattr(was, window):
        yield f"{_label(key, window)}: {getattr(was, window)} -> {getattr(now, window)}"


def _is_looser(name: str, was: Amount, now: Amount) -> bool:
    if now == UNLIMITED:
        return True
    if name in MONEY_FIELDS:
        first, second = money(was), money(now)
    elif name in QTY_FIELDS:
        first, second = (quantity(amount) for amount in (was, now))
    else:
        first, second = int(was), int(now)
    return second < first if name in (*_MORE, "margin_pct") else second > first


def _switches(old: Limits, new: Limits) -> Iterator[str]:
    yield from _tradable(old, new)
    yield from _hours(old, new)
    banned = {(row.key, row.side) for row in new.config.limits if row.restricted}
    for row in old.config.limits:
        if row.restricted and (row.key, row.side) not in banned:
            yield f"{_label((row.key, row.side), 'restricted')} is gone"
    yield from _self_trade(old, new)


def _self_trade(old: Limits, new: Limits) -> Iterator[str]:
    before, after = _given(old, "self_trade"), _given(new, "self_trade")
    for key, row in after.items():
        was = before.get(key)
        if row.self_trade == "allow" and (was is None or was.self_trade != "allow"):
            yield f"{_label(key, 'self_trade')} is allowed"
    if not any(row.self_trade == "allow" for row in after.values()):
        return  # nothing is allowed at all, whatever is gone
    for key, row in before.items():
        if row.self_trade == "deny" and key not in after:
            yield f"{_label(key, 'self_trade')} = deny is gone"


def _tradable(old: Limits, new: Limits) -> Iterator[str]:
    before, after = _given(old, "tradable"), _given(new, "tradable")
    for key, row in after.items():
        was = before.get(key)
        if row.tradable and (was.tradable is False if was else not _is_under(before, key)):
            yield f"{_label(key, 'tradable')} is new"
    for key, row in before.items():
        if row.tradable is False and key not in after:
            yield f"{_label(key, 'tradable')} = false is gone"


def _hours(old: Limits, new: Limits) -> Iterator[str]:
    before, after = _given(old, "hours"), _given(new, "hours")
    for key, row in before.items():
        was = parse_hours(row.hours or (), row.timezone)
        if not was.windows:
            continue
        if key not in after:
            yield f"{_label(key, 'hours')} are gone"
            continue
        given = after[key]
        now = parse_hours(given.hours or (), given.timezone)
        if given.timezone != row.timezone or not now.minutes() <= was.minutes():
            yield f"{_label(key, 'hours')} are open when they were not"
    for key in after.keys() - before.keys():
        if not _is_under(before, key):
            yield f"{_label(key, 'hours')} were missing, which denied"


def _venues(old: Limits, new: Limits) -> Iterator[str]:
    for name, now in new.venues.items():
        was = old.venues.get(name)
        if was is None:
            yield f"venue {name} is new"
        elif _takes_more(was, now):
            yield f"venue {name} may get more messages"


def _takes_more(was: VenueLimitConfig, now: VenueLimitConfig) -> bool:
    return (
        now.window_ms < was.window_ms
        or now.messages_max > was.messages_max
        or now.messages_max - now.cancels_max > was.messages_max - was.cancels_max
    )
