"""`tickd panic --after-end`: which accounts need not be asked after this end of the unit.

systemd runs ExecStopPost after every start that failed, too, and starts again every two seconds:
each time a login at every broker, of which it gives a few a day. An account is spared where no
order can have left since it was last found empty, by the daemon's own latch file; what cannot be
told, or written down, spares nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from risk.errors import LatchError
from risk.latch import LATCH
from risk.latch import read as read_latch
from risk.panic import Outcome
from tickd.app.asking import state_dir_of
from tickd.durable import replace_file
from tickd.errors import ConfigError, TickdError
from tickd.ownership import act_as_owner

__all__ = ["PANIC", "AfterEnd", "Spared", "Tried", "Word", "after_end", "spare"]

PANIC: Final = "panic.json"
# A loop of crashes asks six times an hour, one that finds orders or no answer thirty times.
EMPTY_AGAIN_S: Final = 600
LEFT_AGAIN_S: Final = 120
_NS_PER_S: Final = 1_000_000_000


class Tried(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last time that an account was asked. at_ns: wall clock; latch: `Word.record` of then."""

    at_ns: int
    latch: str
    empty: bool  # nothing was left, for certain


class Word(NamedTuple):
    """What the latch file says. record: it changes with every trip and every arming."""

    record: str
    armed: bool  # or nobody can tell

    @classmethod
    def of(cls, directory: Path) -> Word:
        """Read it; without a file no daemon has stood here."""
        try:
            latch = read_latch(directory)
        except LatchError:
            try:
                return cls("", (directory / LATCH).exists())
            except OSError:
                return cls("", armed=True)
        return cls(f"{latch.boot_id} {latch.wall_ns} {latch.mono_ns}", latch.is_armed)


class Spared(NamedTuple):
    """Why an account is not asked. empty: for certain nothing is left there."""

    why: str
    empty: bool


def spare(tried: Tried | None, word: Word, *, ran: bool, now_ns: int) -> Spared | None:
    """Return why an account is spared, None: it must be asked.

    Args: `ran`: the unit's main process ran before this end; `now_ns`: wall clock.
    """
    if tried is None:
        idle = not ran and not word.armed
        return (
            Spared("the daemon did not run, and was not armed before", empty=True) if idle else None
        )
    if tried.latch != word.record or (ran and word.armed):
        return None
    if tried.empty and not ran:
        return Spared("nothing was left, and the daemon has not run since", empty=True)
    ago_s = (now_ns - tried.at_ns) / _NS_PER_S
    again_s = EMPTY_AGAIN_S if tried.empty else LEFT_AGAIN_S
    if not 0 <= ago_s < again_s:  # or the clock was set back
        return None
    said = "nothing was left" if tried.empty else "something was left, or nobody answered,"
    return Spared(f"{said} {ago_s:.0f} s ago, and nothing was armed since", empty=tried.empty)


class AfterEnd:
    """One run after one end. Nothing of it raises: what fails spares nobody."""

    def __init__(self, directory: Path, *, ran: bool, now_ns: int) -> None:
        """Args: `directory`: that of the latch file, in the state directory."""
        self._path = directory / PANIC
        self._ran = ran
        self._now_ns = now_ns
        self._word = Word.of(directory)
        self._tried = self._read()

    def _read(self) -> dict[str, Tried]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Tried])
        except (OSError, msgspec.DecodeError):
            return {}

    def spared(self, account: str) -> Spared | None:
        """Why `account` is not asked this time, None: it is."""
        return spare(self._tried.get(account), self._word, ran=self._ran, now_ns=self._now_ns)

    def note(self, outcomes: Sequence[Outcome]) -> str:
        """Keep what came of those that were asked; return why it could not be kept."""
        now = {
            each.account: Tried(at_ns=self._now_ns, latch=self._word.record, empty=each.left == 0)
            for each in outcomes
        }
        if not now:
            return ""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, msgspec.json.encode({**self._tried, **now}))
        except OSError as error:
            return f"{self._path}: {error.strerror}: the next end asks again"
        return ""


def after_end(config: Path, environment: Mapping[str, str], now_ns: int) -> AfterEnd | None:
    """Return what this end of the unit spares; None where that cannot be told.

    systemd says how the main process ended only where it ran (systemd.exec(5), EXIT_CODE). It runs
    this as root, for the credentials; from here on we are the daemon's user, where that goes.
    """
    if "SERVICE_RESULT" not in environment:
        return None
    try:
        state_dir = state_dir_of(config)
    except ConfigError:
        return None
    with suppress(TickdError):  # orders are cancelled by whomever
        act_as_owner(state_dir)
    return AfterEnd(state_dir / "risk", ran="EXIT_CODE" in environment, now_ns=now_ns)
