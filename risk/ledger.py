"""What is held and what was earned with it, over restarts, told to the gate.

Executions are folded into positions once, whoever brings them again; a file beside the outbox keeps
the fold. Prices to value it come from the gate's references. It knows no order and no venue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, final

import msgspec
import structlog

from risk.folded import Folded, joined
from risk.gate import Gate
from risk.kept_positions import Kept, acknowledge, damaged_path, set_aside
from risk.order_facts import Fill
from risk.orders import Request, Snapshot
from risk.outbox_format import Held
from risk.positions import Key, Positions
from risk.recovery import Executed
from tickd.durable import replace_file, sync_directory
from tickd.errors import TickdError
from tickd.ports import Clock

__all__ = ["Ledger"]

log = structlog.get_logger(__name__)

FILE: Final = "positions.json"
_NONE: Final = msgspec.Raw(b"[]")
# What the gate can take.
_Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_KEEP_NS: Final = 1_000_000_000


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """definitions: of every instrument that is held or was. folded: (order, execution).

    peaks: the highest equity of an account; files of older builds have none.
    """

    version: Literal[1] = 1
    definitions: dict[int, str]
    positions: Kept
    folded: msgspec.Raw
    foreign_fees: dict[str, int]
    uncosted: list[tuple[str, str, int, int]] = []
    peaks: dict[str, _Int64] = {}


@final
class Ledger:
    """All accounts of a daemon; `currencies`: of each, `strategies`: account of each."""

    def __init__(
        self,
        currencies: Mapping[str, str],
        *,
        gate: Gate,
        directory: Path,
        clock: Clock,
        strategies: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._currencies: Final = currencies
        self.strategies: Final = {
            name: account for name, account in strategies.items() if account in currencies
        }
        self._gate: Final = gate
        self._path: Final = directory / FILE
        self._clock: Final = clock
        self.positions: Final = Positions()
        self._definitions: Final[dict[int, bytes]] = {}
        # What the outbox may tell of once more.
        self._folded: Final = Folded()
        # Fees in another currency than the account's: no rate, so they count in no sum.
        self.foreign_fees: Final[dict[str, int]] = {}
        self._last: Final[dict[str, Snapshot]] = {}
        # The highest equity of each account, which the gate counts its fall from.
        self._peaks: Final[dict[str, int]] = {}
        # Held as the outbox says, at a cost that nobody remembers: it counts from the next price.
        self._uncosted: Final[dict[Key, int]] = {}
        self._is_changed = False
        self._kept_ns = 0
        self.fault: str | None = None
        # Why what an account earned today may be wrong; until a person has looked.
        self._damage: str | None = None
        # A file that cannot be read still stands in its place, and is not to be written over.
        self._is_in_the_way = False

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument's definition, before its first fill.

        Of one that cannot be read nothing is worth anything: the gate lets no order of it out.
        """
        if instrument in self._definitions:
            return
        try:
            self.positions.define(instrument, definition)
        except (msgspec.DecodeError, TickdError) as error:
            log.warning("definition_not_valued", instrument=instrument, words=str(error))
            return
        self._definitions[instrument] = definition

    # Executions -----------------------------------------------------------------------------------

    def fill(self, request: Request, number: int, fill: Fill, wall_ns: int | None = None) -> None:
        """Fold an execution, unless it was folded before."""
        name = (number, fill.exec_id)
        if name in self._folded:
            return
        key = Key(request.account, request.strategy, request.instrument)
        if key.instrument not in self._definitions:
            log.error("execution_not_valued", number=number, symbol=request.symbol)
            return
        if key in self._uncosted:
            self.positions.cost(key, self._uncosted.pop(key), fill.price)
        self._folded.add(name)
        account, fee = request.account, fill.fee
        if fill.fee_currency not in ("", self._currencies.get(account)):
            name_of_fee = f"{account} {fill.fee_currency}"
            self.foreign_fees[name_of_fee] = self.foreign_fees.get(name_of_fee, 0) + fee
            fee = 0
        self.positions.apply(
            key,
            side=request.side,
            price=fill.price,
            size=fill.size,
            fee=fee,
            ts_ns=self._clock.wall_ns() if wall_ns is None else wall_ns,
        )
        self._is_changed = True
        self._tell(account)

    def recover(self, executed: Iterable[Executed], held: Iterable[Held] = ()) -> None:
        """Read the file, then fold what the outbox has and the file lacks. Blocks.

        `held`: what the outbox holds in all; where the fold lacks the executions behind it, the
        size is taken all the same.
        """
        self._read()
        names: list[tuple[int, str]] = []
        for each in executed:
            names.append((each.number, each.fill.exec_id))
            self.fill(each.request, each.number, each.fill, each.wall_ns)
        # What the outbox has lost is taken away below, and may be told by the venue once more.
        self._is_changed |= self._folded.keep_only(names)
        for whole in held:
            self.hold(whole)
        for account in self._currencies:
            self._tell(account)

    def follow(self, outbox_files_count: int) -> None:
        """Forget the names of executions that no file of the outbox has. Bounded; now and then."""
        self._folded.follow(outbox_files_count)

    def hold(self, held: Held) -> None:
        """Count all of a position as ours; what no execution tells of earns from now on."""
        key = Key(held.account, held.strategy, held.instrument)
        position = self.positions.position(key)
        missing = held.size - (0 if position is None else position.size)
        if not missing:
            return
        log.error("position_without_cost", **key._asdict(), symbol=held.symbol, size=missing)
        if held.instrument not in self._definitions:
            return
        self.positions.hold(key, missing)
        self._uncosted[key] = self._uncosted.get(key, 0) + missing
        self._is_changed = True

    def _cost(self) -> None:
        for key, size in list(self._uncosted.items()):
            mark = self._gate.reference(key.instrument)
            if mark is not None:
                self.positions.cost(key, size, mark)
                del self._uncosted[key]

    # Money ----------------------------------------------------------------------------------------

    def snapshot(self, account: str, snapshot: Snapshot) -> None:
        """Take what the venue says of an account's money."""
        self._last[account] = snapshot
        if snapshot.account is not None:
            self._gate.account(account, snapshot.account, mono_ns=snapshot.asked_mono_ns)
            self._note_peak(account)

    def _note_peak(self, account: str) -> None:
        peak = self._gate.peak(account)
        if peak is not None and peak != self._peaks.get(account):
            self._peaks[account] = peak
            self._is_changed = True

    def forget_peak(self, account: str) -> tuple[int, int]:
        """Count an account's fall from what it has now, after a withdrawal: before, and now.

        Raises TickdError: there is no such account, or its venue has told nothing yet.
        """
        last = self._last.get(account)
        before = self._peaks.get(account)
        if last is None or last.account is None or before is None:
            raise TickdError(f"{account!r} has told no equity yet", hint="tickd status names them")
        self._gate.set_peak(account, last.account.equity)
        self._note_peak(account)
        return before, last.account.equity

    def value(self) -> None:
        """Value what is held at the gate's references; begin a new day where one has."""
        wall_ns = self._clock.wall_ns()
        self._cost()
        for instrument in {key.instrument for key, held in self.positions.items() if held.size}:
            mark = self._gate.reference(instrument)
            if mark is not None:
                self.positions.mark(instrument, mark)
        for account in self._currencies:
            self.positions.roll(account, wall_ns)
            self._tell(account)

    def day_pnl(self, account: str) -> int:
        """Money earned since the day began, realised and not, behind fees."""
        return self.positions.day_pnl(account)[0]

    def _tell(self, account: str) -> None:
        self._gate.set_day_pnl(account, self.day_pnl(account))
        # Who has not traded yet has earned nothing, which the gate is to know.
        earned = {name: 0 for name, own in self.strategies.items() if own == account}
        earned |= self.positions.day_pnl_by_strategy(account)
        for strategy, pnl in earned.items():
            self._gate.set_day_pnl(account, pnl, strategy=strategy)

    def record(self, account: str) -> dict[str, object]:
        """The control record of an account."""
        last = self._last.get(account)
        told = None if last is None else last.account
        pnl = self.positions.pnl(account)
        return {
            "kind": "account",
            "account": account,
            "currency": self._currencies[account],
            "equity": None if told is None else told.equity,
            "free": None if told is None else told.free,
            "margin_used": None if told is None else told.margin_used,
            "unrealised": pnl.unrealised,
            "realised_day": self.day_pnl(account) - pnl.unrealised,
            "positions": [
                {
                    "strategy": key.strategy,
                    "instrument": key.instrument,
                    "symbol": held.contract.symbol,
                    "size": held.size,
                }
                for key, held in self.positions.items(account)
                if held.size
            ],
        }

    def draw(self, account: str) -> dict[str, Any]:
        """One account, for people and JSON; money in units of 1e-8."""
        pnl = self.positions.pnl(account)
        return {
            **{name: value for name, value in self.record(account).items() if name != "kind"},
            "realised": pnl.realised,
            "fees": pnl.fees,
            "day_pnl": self.day_pnl(account),
            "peak": self._peaks.get(account),
        }

    # The file -------------------------------------------------------------------------------------

    async def keep(self, *, at_once: bool = False) -> None:
        """Write the fold down, once a second at most; raises nothing: `fault` says what failed."""
        now_ns = self._clock.mono_ns()
        if not self._is_changed or (now_ns - self._kept_ns < _KEEP_NS and not at_once):
            return
        self._is_changed, self._kept_ns = False, now_ns
        if self._is_in_the_way and not self._set_aside():
            self._is_changed = True
            return
        try:
            await asyncio.to_thread(self._write, self._now(), self._folded.encoded())
            self.fault = None
        except OSError as error:
            self._is_changed, self.fault = True, f"{self._path}: {error.strerror or error}"

    def _now(self) -> _File:
        """Everything but the names: a copy that another thread may read."""
        kept = self.positions.kept()
        return _File(
            definitions={
                row.instrument: self._definitions[row.instrument].decode() for row in kept.rows
            },
            positions=kept,
            folded=_NONE,
            foreign_fees=dict(self.foreign_fees),
            uncosted=[
                (key.account, key.strategy, key.instrument, size)
                for key, size in self._uncosted.items()
            ],
            peaks=dict(self._peaks),
        )

    def _write(self, now: _File, names: list[bytes]) -> None:
        """Any thread."""
        whole = msgspec.structs.replace(now, folded=joined(names))
        replace_file(self._path, msgspec.json.encode(whole))
        sync_directory(self._path.parent)

    def problems(self) -> list[str]:
        """What stands against arming, for people."""
        return [] if self._damage is None else [self._damage]

    def acknowledge(self) -> bool:
        """Take a person's word that what was earned today has been looked at; False: nothing is.

        The damaged file is kept. Raises OSError: it cannot be renamed, and holds up arming still.
        """
        if self._damage is None:
            return False
        if self._is_in_the_way and not self._set_aside():
            raise OSError(self.fault)
        acknowledge(self._path, wall_ns=self._clock.wall_ns())
        self._damage = None
        return True

    def _set_aside(self) -> bool:
        try:
            aside = set_aside(self._path, wall_ns=self._clock.wall_ns())
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror or error}"
            return False
        self._is_in_the_way = False
        log.error("positions_set_aside", path=str(aside), hint="tickd risk acknowledge")
        return True

    def _read(self) -> None:
        self._read_file()
        aside = damaged_path(self._path)
        if self._is_in_the_way or aside.exists():
            self._damage = (
                f"{self._path} was damaged and is kept as {aside.name}: what was earned today "
                "begins at 0 and no daily loss before it counts; look at the day's result at the "
                "venue, then tickd risk acknowledge --operator NAME --reason TEXT"
            )

    def _read_file(self) -> None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_File)
            folded = msgspec.json.decode(kept.folded, type=list[tuple[int, str]])
            for instrument, definition in kept.definitions.items():
                self.define(instrument, definition.encode())
            self.positions.restore(kept.positions)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, TickdError, KeyError, ValueError) as error:
            # Sizes come from the outbox all the same; what was earned begins anew.
            self.fault = f"{self._path}: {error}"
            log.error("positions_unreadable", words=self.fault)  # noqa: TRY400 - it is on screen
            self._is_in_the_way = True
            self._set_aside()
            return
        for name in folded:
            self._folded.add(name)
        self.foreign_fees.update(kept.foreign_fees)
        for account, strategy, instrument, size in kept.uncosted:
            self._uncosted[Key(account, strategy, instrument)] = size
        for account in self._currencies.keys() & kept.peaks.keys():
            self._gate.set_peak(account, kept.peaks[account])
            self._note_peak(account)
