"""The kill switch: memory first, disk second, cancel third; armed again by a person, in two steps.

It owns the halt word's one key. Signals trip the word natively; what this file does about a trip
begins when the native latch thread rings. It cancels, asks and records through what the wiring
gave it, and knows neither router nor brokers.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final, Literal

import msgspec
import structlog

from risk.cancelling import SCOPES_MAX, Cancelling
from risk.config import RiskConfig
from risk.errors import ArmError
from risk.halt_names import named
from risk.kill_hooks import Hooks
from risk.latch import HaltedScope, HaltedSide, Latch, Scope, Source, boot_id, encode
from tickd.errors import TickdError
from tickd.native import HaltWord
from tickd.ports import Clock

__all__ = ["KillSwitch", "Offer"]

log = structlog.get_logger(__name__)

DISK_MS_MAX: Final = 2_000
# Characters of a reason or a name: what all scopes say must fit into the latch, and into a row.
TEXT_MAX: Final = 500
_NS_PER_S: Final = 1_000_000_000
_What = tuple[Scope, str, HaltedSide]
_EVERYTHING: Final[_What] = ("global", "", "")
# The source of a person's trip: who, as was said, and which process, as the kernel knows it.
_BY_PERSON: Final = re.compile(r"operator(?: (?P<name>.*?))??(?: uid=-?\d+ pid=-?\d+)?", re.DOTALL)
_DONE: Final = {
    "kill": "killed",
    "halt": "halted",
    "arm": "armed",
    "lift": "lifted",
    "reduce": "reducing",
}


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first of two steps: `token` arms once, until it expires or something is tripped."""

    token: str
    expires_s: float
    scope: Scope
    key: str
    side: HaltedSide = ""


@dataclass(frozen=True, slots=True)
class _Pending:
    offer: Offer
    seen: int  # the halt word that the person saw
    until_mono_ns: int
    operator: str
    reason: str


class KillSwitch:
    """One daemon's switch. `run` is its life; loop thread only, except where it says otherwise."""

    def __init__(
        self, config: RiskConfig, *, word: HaltWord, first: Latch, clock: Clock, hooks: Hooks
    ) -> None:
        self._config = config
        self._word = word
        self._arming = word.arming()
        self._clock = clock
        self._hooks = hooks
        # What the file says, or will when the disk has it.
        self._latch = first
        self._pending: _Pending | None = None
        self._cancelling = Cancelling(word, clock, hooks, on_clear=self._reduce)
        # A trip whose orders are not all cancelled yet.
        self._reduce_due = False
        self.trips_total = 0
        for each in first.halts:
            hooks.set_scope(each.scope, each.key, True, each.side)

    # Halting --------------------------------------------------------------------------------------

    def trip(
        self,
        reason: str,
        *,
        scope: Scope = "global",
        key: str = "",
        side: HaltedSide = "",
        source: str = "call",
    ) -> None:
        """Halt everything, or one venue, account, strategy or instrument; its orders are cancelled.

        Of all of these, one side alone where it is said. From here on no order of it leaves. Raises
        nothing.
        """
        reason, source = reason[:TEXT_MAX], source[:TEXT_MAX]
        if (scope, side) == ("global", ""):
            self._word.trip(reason, source)
        elif len(self._latch.halts) >= SCOPES_MAX:
            self._word.trip(f"{reason} (more than {SCOPES_MAX} scopes are halted)", source)
        else:
            self._halt_scope((scope, key, side), reason, source)

    def trigger(self, reason: str, *, scope: Scope = "global", key: str = "", name: str) -> bool:
        """`trip` by a rule that is asked again and again: False when that is halted already."""
        if self._word.is_halted or self.is_halted(scope, key):
            return False
        self.trip(reason, scope=scope, key=key, source=name)
        return True

    def is_halted(self, scope: Scope, key: str, side: HaltedSide = "") -> bool:
        """Whether one scope, or a side of it, is halted by itself, whatever the word says."""
        return any(_what(each) == (scope, key, side) for each in self._latch.halts)

    def _halt_scope(self, what: _What, reason: str, source: str) -> None:
        scope, key, side = what
        self._hooks.set_scope(scope, key, True, side)
        if not self.is_halted(*what):
            wall_ns = self._clock.wall_ns()
            halted = HaltedScope(
                scope=scope, key=key, side=side, reason=reason, source=source, wall_ns=wall_ns
            )
            self._store((*self._latch.halts, halted))
        self._cancelling.want(*what)
        self._pending = None
        self._audit("halt", reason, what, source=source)

    def _store(self, halts: tuple[HaltedScope, ...]) -> None:
        """Change what the file says of scopes; of a word that was just tripped `on_bell` does."""
        self._latch = msgspec.structs.replace(self._latch, halts=halts)
        self._word.set_halts(msgspec.json.encode(halts))
        word = self._word.word
        if self._latch.is_armed:
            if not self._word.is_halted:
                self._word.note(word, encode(self._latch))
        else:
            self._word.keep(word >> 8, encode(self._latch))

    def on_bell(self) -> None:
        """Take what tripped the word: the loop calls it when `HaltWord.fileno` is readable."""
        trips = self._word.take_trips()
        if not trips:
            return
        self._cancelling.want_everything()
        self._reduce_due = True
        self._pending = None
        self.trips_total += len(trips)
        last = trips[-1]
        self._latch = Latch(
            state="halted",
            epoch=last["epoch"],
            reason=last["reason"],
            source=Source(kind=last["kind"], name=last["name"], uid=last["uid"], pid=last["pid"]),
            wall_ns=last["wall_ns"],
            mono_ns=last["mono_ns"],
            boot_id=boot_id(),
            config=self._latch.config,
            open_orders=self._hooks.open_orders(),
            halts=self._latch.halts,
        )
        self._word.keep(last["epoch"], encode(self._latch))
        for trip in trips:
            source = trip["name"]
            if trip["kind"] == "signal":
                source = f"{source} uid={trip['uid']} pid={trip['pid']}"
            self._audit("kill", trip["reason"], source=source, epoch=trip["epoch"])

    # Arming ---------------------------------------------------------------------------------------

    def arm(
        self,
        operator: str,
        reason: str,
        *,
        scope: Scope = "global",
        key: str = "",
        side: HaltedSide = "",
    ) -> Offer:
        """The first step: return a token for `confirm`; it replaces one that was not used.

        Raises ArmError: nobody or nothing named, nothing to arm, or `blockers`.
        """
        if not operator.strip() or not reason.strip():
            raise ArmError("who arms, and why, must be said", hint="--operator NAME --reason TEXT")
        operator, reason = operator[:TEXT_MAX], reason[:TEXT_MAX]
        what = (scope, key, side)
        halted = self._word.is_halted if what == _EVERYTHING else self.is_halted(*what)
        if not halted:
            raise ArmError(f"{named(*what)} is not halted", hint=self._others(what))
        self._refuse_if_blocked(what)
        token, expires_s = secrets.token_hex(4), self._config.arm_token_s
        offer = Offer(token=token, expires_s=expires_s, scope=scope, key=key, side=side)
        until_ns = self._clock.mono_ns() + int(offer.expires_s * _NS_PER_S)
        self._pending = _Pending(offer, self._word.word, until_ns, operator, reason)
        return offer

    async def confirm(self, token: str, *, by: Source | None = None) -> None:
        """The second step: arm what the token stands for; `by`: the process that asks.

        Raises ArmError: a wrong, used or expired token (the right one is void, too), something was
        tripped meanwhile, `blockers`, or the disk did not take the record in time.
        """
        pending, self._pending = self._pending, None
        if pending is None or not compare_digest(token.encode(), pending.offer.token.encode()):
            raise ArmError("no such token", hint="tickd risk arm CONFIG --operator … --reason …")
        if self._clock.mono_ns() >= pending.until_mono_ns:
            raise ArmError("the token has expired")
        what = _what(pending.offer)
        self._refuse_if_blocked(what)
        if self._word.word != pending.seen:
            raise ArmError("something was tripped meanwhile")
        if what == _EVERYTHING:
            await self._open(pending, by)
        else:
            self._lift(pending, by)

    async def _open(self, pending: _Pending, by: Source | None) -> None:
        armed = Latch(
            state="armed",
            epoch=pending.seen >> 8,
            reason=pending.reason,
            source=msgspec.structs.replace(by or Source(kind="operator"), name=pending.operator),
            wall_ns=self._clock.wall_ns(),
            mono_ns=self._clock.mono_ns(),
            boot_id=boot_id(),
            config=self._latch.config,
            halts=self._latch.halts,
        )
        durable = await asyncio.to_thread(
            self._arming.prepare, pending.seen, encode(armed), DISK_MS_MAX
        )
        if not durable:
            fault = self._word.latch_status()["fault"] or "something was tripped meanwhile"
            raise ArmError(f"the latch file could not be written: {fault}")
        # Meanwhile the loop went on: scopes may have been halted, data may have become stale.
        changed = armed.halts != self._latch.halts or self.blockers()
        if changed or not self._arming.open(pending.seen):
            if self._word.word == pending.seen:
                self._word.keep(pending.seen >> 8, encode(self._latch))
            raise ArmError("something changed while the latch file was written")
        # In the same step as the opening: no order is on record before this.
        self._latch = armed
        self._reduce_due = False
        self._audit("arm", pending.reason, operator=pending.operator, source=_words(by))

    def _lift(self, pending: _Pending, by: Source | None) -> None:
        what = scope, key, side = _what(pending.offer)
        kept = [each for each in self._latch.halts if _what(each) != what]
        self._store(tuple(kept))
        # Before the hook, which may find that it must be halted again.
        who = pending.operator
        self._audit("lift", pending.reason, what, operator=who, source=_words(by))
        self._hooks.set_scope(scope, key, False, side)

    def _others(self, what: _What) -> str:
        """Which sides are halted where that one is not; empty: none."""
        known = [_what(each) for each in self._latch.halts]
        return ", ".join(
            f"{named(*each)} is: {f'--side {each[2]}' if each[2] else 'no --side'}"
            for each in known
            if each[:2] == what[:2]
        )

    def blockers(self, scope: Scope = "global", key: str = "", side: HaltedSide = "") -> list[str]:
        """Why arming a scope, or a side of it, is refused now, a sentence each."""
        found = [*self._hooks.blockers(scope, key), *self._cancelling.blockers(scope, key, side)]
        if fault := self._word.latch_status()["fault"]:
            found.append(f"the latch file cannot be written: {fault}")
        return found

    def _refuse_if_blocked(self, what: _What) -> None:
        if found := self.blockers(*what):
            raise ArmError("refused: " + "; ".join(found))

    # Its life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Cancel after every trip; until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._word.fileno(), self.on_bell)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._cancelling.run(), name="cancel all")
        finally:
            loop.remove_reader(self._word.fileno())

    def _reduce(self) -> None:
        """By policy: once nothing is open any more, orders may leave that reduce a position."""
        due, self._reduce_due = self._reduce_due, False
        if due and self._config.flatten and self._arming.reduce(self._word.word):
            self._audit("reduce", "policy: risk.flatten")

    def stop(self) -> None:
        """The end of a clean life: halted on disk and in memory. Any thread; waits for the disk."""
        last = self._latch
        if last.is_armed:
            last = msgspec.structs.replace(
                last,
                state="halted",
                reason="the daemon stopped",
                source=Source(kind="daemon", name="stop"),
                wall_ns=self._clock.wall_ns(),
                mono_ns=self._clock.mono_ns(),
                open_orders=self._hooks.open_orders(),
            )
        # A trip that nobody took any more is on disk already, and newer than this.
        self._word.keep(last.epoch, encode(last))
        self._word.stop()
        self._word.trip("the daemon stops", "daemon")

    # For others -----------------------------------------------------------------------------------

    def draw(self) -> dict[str, Any]:
        """How it stands, for people and for JSON."""
        state = "armed"
        if self._word.is_halted:
            state = "reducing" if self._word.is_reducing else "halted"
        latch = self._latch
        return {
            "state": state,
            "epoch": self._word.epoch,
            "reason": latch.reason,
            "source": msgspec.to_builtins(latch.source),
            "since_ns": latch.wall_ns,
            "open_orders": latch.open_orders,
            "halts": msgspec.to_builtins(latch.halts),
            "stopped": self._hooks.stopped(),
            "cancelling": self._cancelling.is_under_way,
            "left": self._cancelling.left,
            "trips": self.trips_total,
            "blockers": self.blockers(),
            "latch": dict(self._word.latch_status()),
        }

    def _audit(
        self,
        action: Literal["kill", "halt", "arm", "lift", "reduce"],
        reason: str,
        what: _What = _EVERYTHING,
        *,
        operator: str = "",
        source: str = "",
        epoch: int | None = None,
    ) -> None:
        scope, key, side = what
        said: dict[str, object] = {
            "kind": "audit",
            "action": action,
            "scope": scope,
            "key": key,
            **({"side": side} if side else {}),
            "operator": operator or _person(source),
            "reason": reason,
            "source": source,
            "epoch": self._word.epoch if epoch is None else epoch,
        }
        # A person must act on a halt; names of their own keep one from hiding another in the log.
        say = log.error if action in ("kill", "halt") else log.warning
        say(f"orders_{_DONE[action]}", **{name: said[name] for name in said if name != "kind"})
        try:
            self._hooks.record(said)
        except TickdError as error:  # a log that is closed must not keep orders from being halted
            log.error("audit_lost", words=str(error))  # noqa: TRY400 - an operator must act


def _what(named_by: HaltedScope | Offer) -> _What:
    return named_by.scope, named_by.key, named_by.side


def _words(by: Source | None) -> str:
    """Which process asked; empty: nobody knows."""
    return "" if by is None else f"uid={by.uid} pid={by.pid}"


def _person(source: str) -> str:
    """Whose name is in the source of a trip: behind it stands the process that asked."""
    said = _BY_PERSON.fullmatch(source)
    return "" if said is None else said["name"] or ""
