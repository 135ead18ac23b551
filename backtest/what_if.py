"""What would have been decided under other limits: recorded intents through the real gate again.

Reads the raw log once: prices, accounts, fills and ends of orders move the gate as they did, and
every recorded decision is asked for anew, at its own moment. Exposure follows what happened: an
order that did leave stays reserved, one that did not is let go at once, whatever the new limits
say. Rates and repeats follow the new answers, as nobody knows what else would have been asked. It
writes nothing and sends nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, final

import msgspec
import numpy as np

from backtest.intents import (
    CLOCK_STEP_NS,
    Fields,
    Moment,
    cuts,
    record_at,
    request_of,
    start_of,
)
from recorder.raw.records import heads_of
from risk.approval import ApprovedCancel, ApprovedOrder, ApprovedReplace, Denied
from risk.gate import Gate
from risk.limits import Limits
from risk.orders import AccountState, Request
from risk.prices import Prices
from risk.reasons import Reason
from tickd.native import Decoder, RawLogReader

__all__ = ["Difference", "WhatIf", "what_if"]

# A definition by itself, or all of them in a checkpoint.
_DEFINITION: Final = b'"instrument'
_EXAMPLES_MAX: Final = 5
# Orders that are over are remembered for late fills.
_ENDED_MAX: Final = 1 << 16
_APPROVED: Final = "approved"
_Answer = ApprovedOrder | ApprovedReplace | ApprovedCancel | Denied
_ENDS: Final = frozenset({"rejected", "refused", "denied", "filled", "cancelled", "expired"})
# No limit says these: somebody had stopped, or the router had its reasons.
_NOT_BY_LIMITS: Final = frozenset(
    reason.name for reason in Reason if reason <= Reason.SIDE_HALTED or reason >= Reason.OUTBOX
)
# Live it knew; the log, from where it is read, has not said it yet.
_NOT_KNOWN_YET: Final = frozenset(
    {Reason.UNKNOWN_INSTRUMENT, Reason.MISSING_REFERENCE, Reason.MISSING_ACCOUNT}
)


class Difference(NamedTuple):
    """A decision that would have been another one."""

    frame_no: int
    recv_ns: int
    action: str
    was: str
    now: str
    # Of the new answer: limit, value and reference, where a number was too high.
    figures: dict[str, int]
    strategy: str
    account: str
    venue: str
    symbol: str
    side: str
    price: int | None
    size: int | None
    number: int


@dataclass(slots=True)
class WhatIf:
    """What the recorded decisions come to under the new limits."""

    limits: str
    decisions: int = 0
    same: int = 0
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)  # (was, now)
    examples: dict[tuple[str, str], list[Difference]] = field(default_factory=dict)
    not_judged: Counter[str] = field(default_factory=Counter)
    recorded_under: Counter[str] = field(default_factory=Counter)
    damaged: int = 0

    @property
    def judged(self) -> int:
        return self.same + self.changed.total()

    def differ(self, difference: Difference) -> None:
        key = (difference.was, difference.now)
        self.changed[key] += 1
        examples = self.examples.setdefault(key, [])
        if len(examples) < _EXAMPLES_MAX:
            examples.append(difference)


def what_if(
    directory: Path,
    limits: Limits,
    *,
    from_ns: int | None = None,
    to_ns: int | None = None,
    on_progress: Callable[[int], None] = lambda _bytes: None,
) -> WhatIf:
    """Ask for every recorded decision of [from_ns, to_ns) anew; None: from the log's edge.

    Args: `directory`: the raw log's; `on_progress`: hears of bytes read. Blocks. Raises OSError,
    NativeError: the log cannot be read.
    """
    run = _Run(limits, from_ns or 0, (1 << 63) - 1 if to_ns is None else to_ns)
    reader = RawLogReader(str(directory), start_of(directory, run.from_ns))
    for _, chunk in reader:
        on_progress(len(chunk))
        if not run.take(chunk):
            break
    run.report.damaged = len(reader.damaged)
    return run.report


class _Armed:
    """A halt word that stops nothing: what was halted is not asked again."""

    word = 1 << 8


@dataclass(slots=True)
class _Open:
    """An order that did leave."""

    request: Request
    leaves: int
    is_replacing: bool = False  # another price or size is on its way


@final
class _Run:
    """One reading of the log, and the gate as it moves along."""

    def __init__(self, limits: Limits, from_ns: int, to_ns: int) -> None:
        self.report = WhatIf(limits.hash)
        self.from_ns, self.to_ns = from_ns, to_ns
        self._limits = limits
        self._decoder = Decoder()
        self._gate = Gate(limits, halt=_Armed())
        self._heard = Prices(self._gate, self._decoder.topic_name)
        self._defined: set[int] = set()
        self._open: dict[int, _Open] = {}
        self._ended: OrderedDict[int, Request] = OrderedDict()
        # (account, strategy, instrument) -> bought minus sold, as far as the log says.
        self._positions: dict[tuple[str, str, int], int] = {}
        # (account, strategy) that asked for orders.
        self._strategies: set[tuple[str, str]] = set()

    def take(self, chunk: bytes) -> bool:
        """Take a chunk of the log; False: what is wanted is over."""
        heads = heads_of(chunk)
        stamps = heads["recv_ns"]
        if not len(heads) or int(stamps.min()) >= self.to_ns + CLOCK_STEP_NS:
            return not len(heads)
        ends = (heads["payload_at"].astype(np.int64) + heads["payload_bytes"] + 1).tolist()
        at = 0
        for row in cuts(chunk, heads["type"], stamps):
            start = ends[row - 1] if row else 0
            record = record_at(chunk, start, ends[row])
            # Up to and with a record that matters; else up to the burst that begins here.
            stop = start if record is None else ends[row]
            self._prices(chunk[at:stop])
            at = stop
            if record is not None:
                self._told(*record)
        self._prices(chunk[at:])
        return True

    def _prices(self, records: bytes) -> None:
        if not records:
            return
        batch = self._decoder.decode(records)
        if _DEFINITION in records:
            for instrument, definition in self._decoder.instruments():
                if instrument not in self._defined:
                    self._defined.add(instrument)
                    self._gate.define(instrument, definition)
        if len(batch):
            self._heard.take(batch)

    def _told(self, kind: str, moment: Moment, payload: bytes) -> None:
        try:
            fields = msgspec.json.decode(payload, type=Fields)
        except msgspec.DecodeError:
            self.report.not_judged["malformed"] += kind == "risk"
            return
        match kind:
            case "risk":
                self._decision(fields, moment)
            case "order":
                self._news(fields)
            case "execution":
                self._filled(fields)
            case "account":
                self._account(fields, moment)
            case _:
                self._restart()

    # What was decided.

    def _decision(self, fields: Fields, moment: Moment) -> None:
        report, was = self.report, _was(fields)
        is_wanted = self.from_ns <= moment.recv_ns < self.to_ns
        if is_wanted:
            report.decisions += 1
            report.recorded_under[fields.limits or "?"] += 1
        number = fields.number
        if was in _NOT_BY_LIMITS or number is None:
            report.not_judged[was if number is not None else "no number"] += is_wanted
            return
        now = self._asked(fields, number, moment)
        if now is None:
            report.not_judged["malformed"] += is_wanted
            return
        self._as_it_was(fields, number, now, is_out=was == _APPROVED)
        if not is_wanted:
            return
        answer = now.reason.name if isinstance(now, Denied) else _APPROVED
        if answer == was:
            report.same += 1
        elif isinstance(now, Denied) and now.reason in _NOT_KNOWN_YET:
            report.not_judged[f"{now.reason.name} so early in the log"] += 1
        else:
            figures = dict(now.figures) if isinstance(now, Denied) else {}
            report.differ(_difference(fields, moment, was, answer, figures))

    def _asked(self, fields: Fields, number: int, moment: Moment) -> _Answer | None:
        """The gate's answer; None: the record does not say what was asked."""
        gate, mono_ns, wall_ns = self._gate, moment.mono_ns, moment.recv_ns
        match fields.action:
            case "new":
                request = request_of(fields)
                if request is None:
                    return None
                self._no_loss(request.account, request.strategy)
                self._first_position(request, fields)
                return gate.check(request, number, mono_ns=mono_ns, wall_ns=wall_ns)
            case "replace" if fields.size is not None:
                return gate.check_replace(
                    number, price=fields.price, size=fields.size, mono_ns=mono_ns, wall_ns=wall_ns
                )
            case "cancel":
                return gate.check_cancel(number, mono_ns=mono_ns)
            case _:
                return None

    def _as_it_was(self, fields: Fields, number: int, now: _Answer, *, is_out: bool) -> None:
        """Let the gate hold what was held: the order left, or it did not."""
        gate = self._gate
        if fields.action == "new":
            request = request_of(fields)
            assert request is not None
            if is_out and isinstance(now, Denied):
                gate.restore(request, number, leaves=request.size)
            elif not is_out and not isinstance(now, Denied):
                gate.released(number)
            if is_out:
                self._open[number] = _Open(request, request.size)
        elif fields.action == "replace" and fields.size is not None:
            order = self._open.get(number)
            if is_out and order is not None:
                order.is_replacing = True
            elif not isinstance(now, Denied):
                gate.replace_refused(number)

    def _no_loss(self, account: str, strategy: str) -> None:
        """What single strategies earned is not on record: no limit on it stops them here."""
        if (account, strategy) not in self._strategies:
            self._strategies.add((account, strategy))
            self._gate.set_day_pnl(account, 0, strategy=strategy)

    def _first_position(self, request: Request, fields: Fields) -> None:
        """Before the log begins something may have been held, which the record tells."""
        key = (request.account, request.strategy, request.instrument)
        position = fields.figures.get("position")
        if key not in self._positions and position is not None:
            self._positions[key] = position
            self._gate.set_position(*key, position)

    # What happened.

    def _news(self, fields: Fields) -> None:
        order = None if fields.number is None else self._open.get(fields.number)
        if order is None or fields.number is None:
            return
        if fields.state in _ENDS:
            self._gate.released(fields.number)
            del self._open[fields.number]
            self._ended[fields.number] = order.request
            if len(self._ended) > _ENDED_MAX:
                self._ended.popitem(last=False)
        elif fields.order_size is not None:
            self._asks_for(
                order, fields.number, fields.order_price, fields.order_size, fields.state
            )

    def _asks_for(
        self, order: _Open, number: int, price: int | None, size: int, state: str
    ) -> None:
        """The venue's word for what an order asks for now: as before, or something else."""
        request = order.request
        if (price, size) != (request.price, request.size):
            order.leaves = max(0, size - (request.size - order.leaves))
            order.request = msgspec.structs.replace(request, price=price, size=size)
            order.is_replacing = False
            self._gate.replaced(number, price=price, size=size)
        elif order.is_replacing and state != "pending_replace":
            order.is_replacing = False
            self._gate.replace_refused(number)

    def _filled(self, fields: Fields) -> None:
        number, size, price = fields.number, fields.size, fields.price
        if number is None or size is None or price is None:
            return
        order = self._open.get(number)
        request = self._ended.get(number) if order is None else order.request
        if request is None:
            return
        key = (request.account, request.strategy, request.instrument)
        self._positions.setdefault(key, 0)
        self._positions[key] += size if request.side == "B" else -size
        if order is None:
            self._gate.late_fill(request, size=size, price=price)
        else:
            order.leaves = max(0, order.leaves - size)
            self._gate.filled(number, size=size, price=price)

    def _account(self, fields: Fields, moment: Moment) -> None:
        if fields.account is None or fields.equity is None or fields.free is None:
            return
        state = AccountState(currency=fields.currency or "", equity=fields.equity, free=fields.free)
        self._gate.account(fields.account, state, mono_ns=moment.mono_ns)
        if fields.realised_day is not None:
            pnl = fields.realised_day + (fields.unrealised or 0)
            self._gate.set_day_pnl(fields.account, pnl)

    def _restart(self) -> None:
        """A new life of the daemon: its gate began empty, but for what is held and out."""
        self._gate = Gate(self._limits, halt=_Armed())
        self._heard = Prices(self._gate, self._decoder.topic_name)
        for instrument, definition in self._decoder.instruments():
            self._gate.define(instrument, definition)
        for account, strategy in self._strategies:
            self._gate.set_day_pnl(account, 0, strategy=strategy)
        for key, position in self._positions.items():
            self._gate.set_position(*key, position)
        for number, order in self._open.items():
            self._gate.restore(order.request, number, leaves=order.leaves)


def _was(fields: Fields) -> str:
    return _APPROVED if fields.verdict == _APPROVED else (fields.reason or "")


def _difference(
    fields: Fields, moment: Moment, was: str, now: str, figures: dict[str, int]
) -> Difference:
    return Difference(
        frame_no=moment.frame_no,
        recv_ns=moment.recv_ns,
        action=fields.action,
        was=was,
        now=now,
        figures=figures,
        strategy=fields.strategy or "",
        account=fields.account or "",
        venue=fields.venue or "",
        symbol=fields.symbol or "",
        side=fields.side or "",
        price=fields.price,
        size=fields.size,
        number=fields.number or 0,
    )
