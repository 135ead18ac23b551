"""Messages, answers and failures to reports: what the router hears of each order.

Pure state over `correlation.py`: items and time in, reports and cancels that may go now out. It
sends nothing and guesses nothing; what cannot be read is IN_DOUBT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, final

from risk.brokers.shioaji.correlation import Correlation, Entry, owned_deal
from risk.brokers.shioaji.inbox import Raised, Refused
from risk.brokers.shioaji.lanes import CancelJob, ChangeJob
from risk.brokers.shioaji.numbers import MalformedError, mantissa
from risk.brokers.shioaji.wire import (
    OrderMessage,
    Scales,
    classify,
    deal_of,
    message_of,
    none_known,
    status_report,
    text_of,
    verdict_of,
    words_of,
)
from risk.orders import Report, ReportKind

__all__ = ["ID_UNKNOWN", "MALFORMED", "Out", "Translator"]

MALFORMED: Final = "MALFORMED"
ID_UNKNOWN: Final = "ID_UNKNOWN"
MISMATCH: Final = "REPLACE_MISMATCH"
ENDS: Final = frozenset({ReportKind.CANCELLED, ReportKind.EXPIRED, ReportKind.REJECTED})


class Out(NamedTuple):
    """What came of one item."""

    reports: list[Report]
    cancels: list[Entry]  # whose id has become known: their cancels may go
    lost: str = ""  # something was said that nobody can attribute: everything is in doubt


@final
class Translator:
    """See the module. `scales_of`: decimals of a symbol, None for one that nobody defined.

    own: those of the instrument that an order of ours is in; None for one that is not known.
    """

    def __init__(
        self,
        correlation: Correlation,
        scales_of: Callable[[str], Scales | None],
        secrets: tuple[str, ...] = (),
        *,
        own: Callable[[str, str], Scales | None] = none_known,
    ) -> None:
        self._known = correlation
        self._scales_of = scales_of
        self._own = own
        self._secrets = secrets
        self.malformed = 0

    # Callbacks ----------------------------------------------------------------------------------

    def told(self, state: Any, message: Any, now_ns: int) -> Out:
        """An order callback of the SDK."""
        try:
            read = message_of(state, message)
        except MalformedError as error:
            self.malformed += 1
            return Out([], [], words_of(error, self._secrets))
        if not self._known.is_new(read.event_id):
            return Out([], [])
        owner = self._known.owner(read)
        if owner is not None:
            return self._of(owner, read)
        if self._known.has_unidentified():
            overflow = self._known.hold(read, now_ns)
            return Out(self._foreign([overflow] if overflow is not None else []), [])
        return Out(self._foreign([read]), [])

    def _of(self, owner: Entry, read: OrderMessage) -> Out:
        reports: list[Report] = []
        for each in (*self._known.identify(owner, read.venue_id), read):
            reports += self._report(owner, each)
        return Out(reports, self._due(owner))

    def _due(self, owner: Entry) -> list[Entry]:
        """Its cancel, if it waited for this id."""
        if owner.cancel_since_ns is None or not owner.venue_id:
            return []
        owner.cancel_since_ns = None
        return [] if owner.is_over else [owner]

    def answered(self, ref: str, trade: Any, is_new: bool) -> Out:  # noqa: FBT001 - an inbox item
        """What a call came to, by its own callback.

        Of a cancel or a change only CANCELLED is taken: what else it says may be about the order or
        about the call, and nobody has seen which.
        """
        owner = self._known.of_ref(ref)
        if owner is None:
            return Out([], [])
        try:
            venue_id = text_of(trade.order.id)
            report = status_report(trade, ref)
        except (AttributeError, TypeError, ValueError) as error:
            self.malformed += 1
            return Out([self._doubt(ref, "", words_of(error, self._secrets))], [])
        if not is_new and report is not None and report.kind is not ReportKind.CANCELLED:
            report = None
        waited = self._known.identify(owner, venue_id, trade if venue_id else None)
        reports = [] if report is None else [report]
        for each in waited:
            reports += self._report(owner, each)
        self._note_end(owner, report)
        return Out(reports, self._due(owner))

    def placed(self, ref: str, trade: Any) -> None:
        """The call has returned: its Trade, which may still learn its id."""
        owner = self._known.of_ref(ref)
        if owner is not None and owner.handle is None:
            owner.handle = trade

    def overdue(self, now_ns: int, wait_ns: int) -> list[Report]:
        """What has waited for an id in vain."""
        reports = self._foreign(self._known.release(now_ns - wait_ns))
        reports += [
            Report(
                kind=ReportKind.CANCEL_REJECTED,
                ref=entry.ref,
                code=ID_UNKNOWN,
                reason="the venue has not said which order it is",
            )
            for entry in self._known.cancels_overdue(now_ns - wait_ns)
        ]
        return reports

    # One message --------------------------------------------------------------------------------

    def _report(self, owner: Entry, read: OrderMessage) -> list[Report]:
        kind = classify(read)
        if kind is None:
            return []
        try:
            match kind:
                case ReportKind.FILL:
                    report = owned_deal(read, owner)
                case ReportKind.REPLACED:
                    report = self._replaced(owner, read)
                case _:
                    report = self._plain(kind, owner.ref, read)
        except MalformedError as error:
            self.malformed += 1
            return [self._doubt(owner.ref, read.venue_id, str(error))]
        self._note_end(owner, report)
        return [report]

    def _note_end(self, owner: Entry, report: Report | None) -> None:
        if report is not None and report.kind in ENDS:
            self._known.finish(owner)

    def _replaced(self, owner: Entry, read: OrderMessage) -> Report:
        """Its new price and whole size, where the message agrees with what was asked for.

        Whether `cancel_quantity` counts this change or all of them is not documented: both are
        taken, anything else is in doubt.
        """
        price, size = owner.price, owner.size
        if read.op == "UpdatePrice":
            price = mantissa(read.modified_price, owner.scales.price)
            if owner.asked_price not in (None, price):
                return self._doubt(owner.ref, read.venue_id, f"price {price}", MISMATCH)
        else:
            original = mantissa(read.quantity, owner.scales.size)
            taken = mantissa(read.cancelled, owner.scales.size)
            candidates = {original - taken, owner.size - taken}
            if owner.asked_size is not None:
                if owner.asked_size not in candidates:
                    return self._doubt(owner.ref, read.venue_id, f"{taken} taken away", MISMATCH)
                size = owner.asked_size
            else:
                size = original - taken
        owner.price, owner.size = price, size
        owner.asked_price = owner.asked_size = None
        return Report(
            kind=ReportKind.REPLACED,
            ref=owner.ref,
            venue_id=read.venue_id,
            price=price,
            size=size,
            ts_event_ns=read.ts_event_ns,
        )

    def _plain(self, kind: ReportKind, ref: str, read: OrderMessage) -> Report:
        return Report(
            kind=kind,
            ref=ref,
            venue_id=read.venue_id,
            code="" if read.ok else read.code,
            reason="" if read.ok else words_of(read.reason, self._secrets),
            ts_event_ns=read.ts_event_ns,
        )

    def _foreign(self, messages: list[OrderMessage]) -> list[Report]:
        """Of orders that this process did not send: by the venue's id, and our field if it has one.

        The router may know them from a life before this one.
        """
        reports: list[Report] = []
        for read in messages:
            kind = classify(read)
            scales = self._own(read.ref, read.venue_id) or self._scales_of(read.symbol)
            if kind is None:
                continue
            if kind is ReportKind.FILL and scales is None:
                reports.append(self._doubt(read.ref, read.venue_id, f"no scales: {read.symbol}"))
            elif kind is ReportKind.FILL and scales is not None:
                try:
                    reports.append(deal_of(read, read.ref, scales))
                except MalformedError as error:
                    reports.append(self._doubt(read.ref, read.venue_id, str(error)))
            elif kind is ReportKind.REPLACED:
                # What it was before is not known here: the next snapshot tells.
                reports.append(self._doubt(read.ref, read.venue_id, read.op, MISMATCH))
            else:
                reports.append(self._plain(kind, read.ref, read))
        return reports

    def _doubt(self, ref: str, venue_id: str, reason: str, code: str = MALFORMED) -> Report:
        return Report(
            kind=ReportKind.IN_DOUBT,
            ref=ref,
            venue_id=venue_id,
            code=code,
            reason=words_of(reason, self._secrets),
        )

    # Jobs of the order thread -------------------------------------------------------------------

    def refused(self, item: Refused) -> Report:
        """A job that never left: certain."""
        ref, venue_id = item.job.ref, ""
        if isinstance(item.job, CancelJob):
            kind, venue_id = ReportKind.CANCEL_REJECTED, item.job.venue_id
        elif isinstance(item.job, ChangeJob):
            kind, venue_id = ReportKind.REPLACE_REJECTED, item.job.venue_id
            self._forget_asked(ref)
        else:
            kind = ReportKind.REJECTED
            if (owner := self._known.of_ref(ref)) is not None:
                self._known.finish(owner)
        return Report(kind=kind, ref=ref, venue_id=venue_id, code=item.code, reason=item.words)

    def raised(self, item: Raised) -> Report:
        """A call that raised: a refusal only where the SDK proves that nothing was taken."""
        code = type(item.error).__name__
        words = words_of(item.error, self._secrets)
        if verdict_of(item.error) == "refused":
            return self.refused(Refused(item.job, code, words))
        venue_id = "" if not isinstance(item.job, CancelJob | ChangeJob) else item.job.venue_id
        return self._doubt(item.job.ref, venue_id, words, code)

    def _forget_asked(self, ref: str) -> None:
        if (owner := self._known.of_ref(ref)) is not None:
            owner.asked_price = owner.asked_size = None
