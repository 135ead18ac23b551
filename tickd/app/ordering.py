"""Control commands about orders: list, show, cancel, and a person's word about what is in doubt.

It asks the router; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol, final

from risk.approval import Denied
from risk.kill import TEXT_MAX
from risk.ledger import Ledger
from risk.order_facts import Doubt, Order, State
from risk.order_numbers import number_of
from risk.outbox_format import Held
from risk.reasons import Reason
from risk.router import Router
from tickd.app.control import Command, signed
from tickd.app.instruments import Instruments
from tickd.errors import Action, TickdError
from tickd.units import MONEY_SCALE, decimal_to_mantissa, mantissa_to_text

__all__ = ["Ordering"]

LISTED_MAX: Final = 1_000
_DIGITS_MAX: Final = 20  # of a number of 64 bits
_ADOPTED: Final = ("account", "instrument", "size", "operator", "reason")
_ENDS: Final = {
    "filled": State.FILLED,
    "cancelled": State.CANCELLED,
    "expired": State.EXPIRED,
    "rejected": State.REJECTED,
}


class _Damaged(Protocol):
    """What keeps a damaged file until a person has looked."""

    def problems(self) -> list[str]: ...

    def acknowledge(self) -> object: ...


@final
class Ordering:
    """The orders of one daemon, for people."""

    def __init__(
        self,
        router: Router,
        ledger: Ledger,
        instruments: Instruments,
        accounts: Collection[str],
        audit: Callable[[dict[str, object]], None],
    ) -> None:
        self._router: Final = router
        self._ledger: Final = ledger
        self._instruments: Final = instruments
        self._accounts: Final = accounts
        self._audit: Final = audit

    def commands(self) -> dict[str, Command]:
        """The control commands, by name."""
        return {
            "order_list": self.list,
            "order_show": self.show,
            "order_cancel": self.cancel,
            "order_resolve": self.resolve,
            "order_adopt": self.adopt,
            "risk_acknowledge": self.acknowledge,
        }

    async def list(self, request: Mapping[str, object]) -> object:
        """Open orders; `all: true`: those that are over and still known, too, newest first."""
        known = self._router.orders()
        chosen = [each for each in known if request.get("all") is True or not each.is_over]
        rows = [self._drawn(each) for each in reversed(chosen[-LISTED_MAX:])]
        return {"orders": rows, "more": max(0, len(chosen) - LISTED_MAX)}

    async def show(self, request: Mapping[str, object]) -> object:
        """One order, whole. Raises TickdError: no such order is known any more."""
        order = self._find(request)
        return {
            **self._drawn(order),
            "doubts": [each.name for each in Doubt if each & order.doubts],
            "executions": sorted(order.executions),
            "cancel_asked": order.cancel_asked,
            "replace_asked": order.replace_asked,
            "code": order.code,
        }

    async def cancel(self, request: Mapping[str, object]) -> object:
        """Ask for one to be taken back. Raises TickdError: unknown, or the gate's cancel lane."""
        order = self._find(request)
        denied = self._router.cancel(order.request.client_id, is_again=True)
        if isinstance(denied, Denied):
            is_kept = denied.reason is Reason.RATE_VENUE
            raise TickdError(
                f"order {order.ref} is not cancelled: {denied.reason.name}",
                action=Action.FATAL,
                hint=(
                    "it is asked for as soon as the venue's limit has room; nothing to repeat"
                    if is_kept
                    else f"it is {order.state.name}"
                ),
            )
        return self._drawn(order)

    async def resolve(self, request: Mapping[str, object]) -> object:
        """Take a person's word about an UNKNOWN order: `end`, `filled`, `operator`, `reason`.

        Raises TickdError: it is not UNKNOWN, or the words do not fit it.
        """
        order = self._find(request)
        operator, reason = _person(request)
        end = _ENDS.get(str(request.get("end")))
        if end is None:
            raise TickdError("an order ends as one of: " + ", ".join(_ENDS), hint="--end cancelled")
        scales = self._instruments.of_number(order.request.instrument)
        if scales is None:
            raise TickdError(f"instrument {order.request.symbol} is not defined yet")
        said = request.get("price")
        price = None if said is None else decimal_to_mantissa(str(said), scales.price_scale)
        try:
            self._router.resolve(
                order.number,
                end=end,
                filled=decimal_to_mantissa(str(request.get("filled", "0")), scales.size_scale),
                price=price,
                operator=operator,
                reason=reason,
                source=signed("router"),
            )
        except ValueError as error:
            raise TickdError(str(error), hint=f"tickd order show CONFIG {order.ref}") from error
        return self._drawn(order)

    async def adopt(self, request: Mapping[str, object]) -> object:
        """Count a position as ours that no order of ours made: `size`, in units, is all of it.

        Raises TickdError: no such account or instrument, or nobody says why.
        """
        said = {key: str(request.get(key, "")).strip() for key in _ADOPTED}
        if missing := [key for key, text in said.items() if not text]:
            raise TickdError(f"what is adopted, and who says so: {', '.join(missing)} is missing")
        if said["account"] not in self._accounts:
            known = ", ".join(sorted(self._accounts)) or "none"
            raise TickdError(f"no account {said['account']!r}", hint=f"there is: {known}")
        venue, _, symbol = said["instrument"].partition(":")
        traded = self._instruments.traded(venue, symbol)
        if traded is None:
            raise TickdError(
                f"no instrument {said['instrument']!r} is defined",
                hint="venue:SYMBOL, of a symbol that this daemon records",
            )
        size = decimal_to_mantissa(said["size"], traded.size_scale)
        strategy = str(request.get("strategy", ""))
        held = Held(said["account"], strategy, traded.number, symbol, size)
        for each in (*self._outdated(held, venue), held):
            self._router.adopt(
                each,
                operator=said["operator"],
                reason=said["reason"],
                source=signed("router"),
            )
            self._ledger.hold(each)
        return {**said, "mantissa": size}

    async def acknowledge(self, request: Mapping[str, object]) -> object:
        """Take a person's word that what stands behind damaged files has been looked at.

        Of an account (`scope`, `key`): that its equity fell for a reason, so that its drawdown is
        counted from what it has now. Raises TickdError: nobody says why, nothing is damaged, a
        file cannot be renamed, or the account has told no equity.
        """
        operator, reason = _person(request)
        if request.get("scope") == "account":
            return self._acknowledge_fall(str(request.get("key", "")), operator, reason)
        taken: list[str] = []
        files: dict[str, _Damaged] = {
            "positions": self._ledger,
            "outbox": self._router.outbox.damage,
        }
        for name, file in files.items():
            if not (problems := file.problems()):
                continue
            try:
                file.acknowledge()
            except OSError as error:
                raise TickdError(f"the damaged {name} cannot be renamed: {error}") from error
            taken += problems
            self._audit(
                {
                    "kind": "audit",
                    "action": "acknowledge",
                    "scope": "global",
                    "operator": operator,
                    "reason": reason,
                    "source": signed(name),
                }
            )
        if not taken:
            raise TickdError("there is nothing to acknowledge: no file was damaged")
        return {"acknowledged": taken}

    def _acknowledge_fall(self, account: str, operator: str, reason: str) -> object:
        figures = self._ledger.forget_peak(account)
        before, now = (mantissa_to_text(each, MONEY_SCALE) for each in figures)
        self._audit(
            {
                "kind": "audit",
                "action": "acknowledge",
                "scope": "account",
                "key": account,
                "operator": operator,
                "reason": reason,
                "source": signed(f"peak {before} -> {now}"),
            }
        )
        words = f"the drawdown of {account} is counted from {now}; its highest equity was {before}"
        return {"acknowledged": [words]}

    def _outdated(self, held: Held, venue: str) -> tuple[Held, ...]:
        """The same position under earlier definitions of its symbol, flat: `held` is all of it."""
        old = set(self._instruments.numbers(venue, held.symbol)) - {held.instrument}
        owner = (held.account, held.strategy)
        told = self._router.table.held()
        mine = {e.instrument: e.size for e in told if (e.account, e.strategy) == owner}
        kept = self._ledger.positions.items(held.account)
        mine |= {key.instrument: each.size for key, each in kept if key[:2] == owner and each.size}
        flat = (Held(*owner, number, held.symbol, 0) for number in sorted(old) if mine.get(number))
        return tuple(flat)

    def _find(self, request: Mapping[str, object]) -> Order:
        """By what the venue sees of it (`ref`), or by its number."""
        asked = str(request.get("ref", ""))
        is_number = asked.isdecimal() and len(asked) <= _DIGITS_MAX
        number = int(asked) if is_number else number_of(asked)
        for candidate in (number_of(asked), number):
            order = None if candidate is None else self._router.table.of_number(candidate)
            if order is not None:
                return order
        raise TickdError(
            f"no order {asked!r} is known",
            hint="tickd order list CONFIG --all, or the table orders",
        )

    def _drawn(self, order: Order) -> dict[str, Any]:
        request = order.request
        scales = self._instruments.of_number(request.instrument)

        def text(mantissa: int | None, scale: int | None) -> str | None:
            if mantissa is None:
                return None
            return str(mantissa) if scale is None else mantissa_to_text(mantissa, scale)

        price_scale = None if scales is None else scales.price_scale
        size_scale = None if scales is None else scales.size_scale
        return {
            "ref": order.ref,
            "number": order.number,
            "state": order.state.name,
            "strategy": request.strategy,
            "account": request.account,
            "venue": request.venue,
            "symbol": request.symbol,
            "side": request.side,
            "price": text(order.price, price_scale),
            "size": text(order.size, size_scale),
            "filled": text(order.filled, size_scale),
            "venue_id": order.venue_id,
            "client_id": request.client_id,
            "reason": order.reason,
        }


def _person(request: Mapping[str, object]) -> tuple[str, str]:
    """Who says so, and why. Raises TickdError: nobody, or nothing."""
    operator, reason = str(request.get("operator", "")), str(request.get("reason", ""))
    if not operator.strip() or not reason.strip():
        raise TickdError("who says so, and why, must be said", hint="--operator NAME --reason TEXT")
    return operator[:TEXT_MAX], reason[:TEXT_MAX]
