"""The kill switch in the daemon: its halt word from the first moment, its commands on the socket.

`stand` runs before the event loop: from then on SIGUSR1 halts, whatever the rest of the start is
doing. What halts, cancels and arms is decided in `risk/kill.py`.
"""

from __future__ import annotations

import asyncio
import difflib
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from risk.errors import ArmError
from risk.kill import KillSwitch
from risk.kill_hooks import Hooks
from risk.latch import HaltedSide, Latch, Scope, Source, at_start, boot_id, encode
from risk.triggers import Triggers
from tickd.app.config import Config, configured_instruments
from tickd.app.control import Command, asking_peer, signed
from tickd.config import dump
from tickd.native import HaltWord, NativeError, xxh3_hex
from tickd.ports import Clock

log = structlog.get_logger(__name__)

# Of names that may have been meant.
NEAR_MAX: Final = 3
NEAR_CUTOFF: Final = 0.7
SIDES: Final[tuple[HaltedSide, ...]] = ("", "B", "A")
SCOPES: Final[tuple[Scope, ...]] = ("global", "venue", "account", "strategy", "instrument")


class Halting:
    """One daemon's halt word and, once the wiring has given it hands, its kill switch."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.word = HaltWord()
        # For whoever sees losses and rejects; what the daemon itself sees is told in `watch`.
        self.triggers = Triggers(config.risk.triggers)
        # What the wiring knows beside the file: see `Hooks.instruments`.
        self._instruments: Callable[[], Collection[str]] = tuple
        self._first: Latch | None = None  # what the file is to say from now on
        self._switch: KillSwitch | None = None

    def stand(self, panic: Sequence[str] = (), *, signals: bool = True) -> None:
        """Read the latch, start what follows a trip, and take SIGUSR1, one that waits at once.

        Args: `panic`: the command line of the last resort. Raises nothing for a disk that refuses:
        that is HALTED, and shown.
        """
        directory = self._config.state_dir.absolute() / "risk"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("latch_directory_failed", path=str(directory), words=str(error))
        config = xxh3_hex(dump(self._config).encode())
        self._first, fault = at_start(
            directory, config=config, wall_ns=self._clock.wall_ns(), mono_ns=self._clock.mono_ns()
        )
        self.word.start(
            directory,
            config=config,
            boot_id=boot_id(),
            halts=msgspec.json.encode(self._first.halts),
            panic=list(panic),
            panic_after_ms=self._config.risk.panic_after_ms,
            disk_wait_ms=self._config.risk.disk_wait_ms,
        )
        if signals:
            self.word.bind()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        log.info("halted", reason=self._first.reason, fault=fault)

    def join(self, hooks: Hooks) -> KillSwitch:
        """Give the switch what it needs to cancel, ask and record; once, with the raw log locked.

        Only now the file is written: another daemon's would be spoilt by one that may not run.
        """
        if self._first is None:
            self.stand(signals=False)
        assert self._first is not None, "stand sets it"
        self.word.keep(self._first.epoch, encode(self._first))
        self._instruments = hooks.instruments
        self._switch = KillSwitch(
            self._config.risk, word=self.word, first=self._first, clock=self._clock, hooks=hooks
        )
        return self._switch

    @property
    def switch(self) -> KillSwitch:
        assert self._switch is not None, "the wiring joins before anything runs"
        return self._switch

    def watch(self, *, fault: str | None, lag_s: float) -> None:
        """Halt if the clocks, the recorder or the bus say so; to be called once a second.

        Args: `fault`: why the raw log cannot be written, None when it can.
        """
        mono_ns = self._clock.mono_ns()
        rules = {
            "clock": self.triggers.clock(self._clock.wall_ns(), mono_ns),
            "recorder": self.triggers.recorder(fault, mono_ns),
            "lag": self.triggers.lag("the bus", lag_s * 1000, mono_ns),
        }
        for name, reason in rules.items():
            if reason:
                self.switch.trigger(reason, name=name)

    def draw(self) -> dict[str, Any]:
        """The section of `tickd status`."""
        return self.switch.draw()

    def commands(self) -> dict[str, Command]:
        """The control commands, by name."""
        return {
            "risk_status": self.status,
            "risk_kill": self.kill,
            "risk_arm": self.arm,
            "risk_confirm": self.confirm,
        }

    async def status(self, _: Mapping[str, object]) -> dict[str, Any]:
        """The control command `risk_status`."""
        return self.draw()

    async def kill(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The control command `risk_kill`.

        Raises ArmError: no such scope, or nothing is called so. A halt of a name with a slip in it
        would stop nothing, and its operator would not know.
        """
        scope, key = _scope_of(request)
        side = _side_of(request)
        if scope == "instrument":
            await self._check_instrument(key)
        elif scope != "global" and key not in (known := self._names(scope)):
            raise _halts_nothing(scope, key, f"there are: {', '.join(known) or 'none'}")
        reason = str(request.get("reason") or "by command")
        who = str(request.get("operator") or "")
        said = f"operator {who}".rstrip()
        self.switch.trip(reason, scope=scope, key=key, side=side, source=signed(said))
        halted = {"state": self.draw()["state"], "scope": scope, "key": key}
        return halted | ({"side": side} if side else {})

    def _names(self, scope: Scope) -> list[str]:
        """What a key may be: names of the configuration."""
        if scope == "account":
            return [each.name for each in self._config.accounts]
        if scope == "strategy":
            return [each.name for each in self._config.strategies]
        return [each.name for each in self._config.venues]

    async def _check_instrument(self, key: str) -> None:
        """Raises ArmError: it is not defined, nothing is open or held in it, no file names it."""
        known = {*self._instruments(), *configured_instruments(self._config)}
        if key in known:
            return
        venues = self._names("instrument")
        venue, _, symbol = key.partition(":")
        if venue not in venues or not symbol:
            forms = ", ".join(f"{name}:SYMBOL" for name in venues) or "none"
            raise _halts_nothing("instrument", key, f"there are: {forms}")
        symbols = [name for name in known if name.startswith(f"{venue}:")]
        # Milliseconds with thousands of names.
        near = await asyncio.to_thread(_near, key, symbols)
        advice = f"did you mean {', '.join(near)}?" if near else "tickd plan CONFIG --symbols"
        whole = f"--scope venue --key {venue} halts all of it"
        raise _halts_nothing("instrument", key, f"{advice}; {whole}")

    async def arm(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The control command `risk_arm`: the first step. Raises ArmError."""
        scope, key = _scope_of(request)
        operator, reason = str(request.get("operator", "")), str(request.get("reason", ""))
        side = _side_of(request)
        offer = self.switch.arm(operator, reason, scope=scope, key=key, side=side)
        return dict(msgspec.to_builtins(offer))

    async def confirm(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The control command `risk_confirm`: the second step. Raises ArmError."""
        peer = asking_peer()
        by = None if peer is None else Source(kind="operator", uid=peer.uid, pid=peer.pid)
        await self.switch.confirm(str(request.get("token", "")), by=by)
        return self.draw()

    def stop(self) -> None:
        """The end of the daemon; any thread, waits for the disk."""
        self.word.unbind()
        try:
            self.switch.stop()
        except NativeError as error:
            log.error("latch_failed", words=str(error))  # noqa: TRY400 - a restart halts anyway


def _halts_nothing(scope: Scope, key: str, hint: str) -> ArmError:
    return ArmError(f"nothing was halted: there is no {scope} {key!r}", hint=hint)


def _near(key: str, known: Collection[str]) -> list[str]:
    """The names that look most like it, in whatever case."""
    folded = {name.casefold(): name for name in sorted(known)}
    found = difflib.get_close_matches(key.casefold(), folded, n=NEAR_MAX, cutoff=NEAR_CUTOFF)
    return [folded[name] for name in found]


def _side_of(request: Mapping[str, object]) -> HaltedSide:
    asked = str(request.get("side", ""))
    for side in SIDES:
        if side == asked:
            return side
    raise ArmError(f"no such side: {asked}", hint="--side B: buys, --side A: sells, or neither")


def _scope_of(request: Mapping[str, object]) -> tuple[Scope, str]:
    asked, key = str(request.get("scope", "global")), str(request.get("key", ""))
    for scope in SCOPES:
        if scope == asked and (scope == "global") != bool(key):
            return scope, key
    raise ArmError(
        f"no such scope: {asked} {key}".rstrip(),
        hint="--scope venue|account|strategy|instrument --key NAME, or neither for everything",
    )
