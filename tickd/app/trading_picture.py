"""How trading stands, for `tickd status` and the metrics: read out of its parts, counted by them.

It changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from risk.brokers.registry import name_of
from tickd.app.risk_metrics import RiskPicture

if TYPE_CHECKING:
    from risk.brokers.port import AccountSection
    from risk.outbox import Outbox
    from tickd.app.trading import Trading

__all__ = ["drawn", "pictured"]

_SCOPES: Final = ("side", "venue", "account", "strategy", "instrument")
_AMOUNTS: Final = ("equity", "free", "margin_used", "unrealised", "realised", "fees", "day_pnl")


def pictured(trading: Trading) -> RiskPicture:
    """Return what the metrics show."""
    halted = trading.switch.draw()
    scopes = Counter(each["scope"] for each in halted["halts"])
    scopes["side"] = scopes["global"]  # of everything only a side is halted beside the whole
    return RiskPicture(
        decisions=trading.decisions,
        order_news=trading.order_news,
        open_orders=len(trading.router.table.open),
        unknown_orders=len(trading.router.table.unknown),
        late_fills=trading.router.counts.late_fills,
        halted={
            "global": int(halted["state"] != "armed"),
            "reducing": int(halted["state"] == "reducing"),
            **{scope: scopes[scope] for scope in _SCOPES},
        },
        stopped=_stopped(trading),
        flips=trading.audits,
        accounts={
            name: {
                key: value
                for key, value in trading.ledger.draw(name).items()
                if key in _AMOUNTS and value is not None
            }
            for name in trading.brokers
        },
        rows={} if trading.rows is None else trading.rows.draw(),
        unknown_since_ns=_unknown_since_ns(trading),
        brokers={name: int(broker.is_up) for name, broker in trading.brokers.items()},
        router=msgspec.structs.asdict(trading.router.counts),
        alerts=trading.alerts,
        outbox=_outbox(trading.router.outbox),
    )


def _unknown_since_ns(trading: Trading) -> int:
    """Wall clock at which the oldest UNKNOWN order became one, 0 without any."""
    orders = trading.router.table.unknown.values()
    if not orders:
        return 0
    clock = trading.clock
    return clock.wall_ns() - clock.mono_ns() + min(order.unknown_mono_ns for order in orders)


def _stopped(trading: Trading) -> dict[str, int]:
    stopped = trading.gate.stopped()
    return {name: int(name in stopped) for name in trading.ledger.strategies}


def _outbox(outbox: Outbox) -> tuple[int, int, int, int, int, int]:
    fault = int(outbox.error is not None)
    return (*outbox.figures(), fault, outbox.rotations_count, outbox.failures_count)


def drawn(trading: Trading, sections: tuple[AccountSection, ...]) -> dict[str, Any]:
    """Return the section of `tickd status`; `sections`: the accounts as they were configured."""
    router = trading.router
    return {
        "accounts": [
            {
                "name": section.name,
                "broker": name_of(section),
                "up": trading.brokers[section.name].is_up,
                **trading.ledger.draw(section.name),
            }
            for section in sections
        ],
        "orders_open": len(router.table.open),
        "orders_unknown": len(router.table.unknown),
        "not_flattened": sorted(trading.flattening.unverified.values()),
        "counts": msgspec.to_builtins(router.counts),
        "alerts": trading.alerts,
        "limits": router.limits,
        "gate": trading.gate.backend,
        "rows": None if trading.rows is None else trading.rows.draw(),
    }
