"""The one thread on which order calls are made: asks the gate once more, calls, says what came.

A call takes 12 ms (the broker's page, `timeout=0`), so it cannot be made on the loop. The approval
is confirmed in the same step as the call, and only here. It resends nothing and keeps no state.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, Final, Protocol, final

from risk.approval import ApprovedOrder
from risk.brokers.shioaji.inbox import Answered, Item, Placed, Raised, Refused
from risk.brokers.shioaji.lanes import CancelJob, ChangeJob, Job, Lanes, PlaceJob
from risk.brokers.shioaji.rate import NS_PER_SECOND, CallRate

__all__ = ["HALTED", "NOT_FOUND", "RATE", "STALE", "OrderCalls", "OrderThread"]

# Codes of what never left.
HALTED: Final = "HALTED"
STALE: Final = "STALE"
RATE: Final = "RATE_LIMIT"
NOT_FOUND: Final = "NOT_FOUND"
STOPPED: Final = "STOPPED"
CLOSE_SECONDS: Final = 2.0

Answer = Callable[[Any], None]


class OrderCalls(Protocol):
    """The calls of the SDK that change orders; all with `timeout=0`, raising what it raises."""

    def place(self, contract: Any, native: Any, answer: Answer) -> Any: ...
    def change(
        self, trade: Any, *, price: float | None, less: int | None, answer: Answer
    ) -> None: ...
    def cancel(self, trade: Any, answer: Answer) -> None: ...
    def find(self, venue_id: str) -> Any: ...


@final
class OrderThread:
    """Runs from `start` to `stop`. `put` is called on this thread and on the SDK's."""

    def __init__(
        self,
        lanes: Lanes,
        calls: OrderCalls,
        *,
        confirm: Callable[[ApprovedOrder], bool],
        put: Callable[[Item], None],
        rate: CallRate,
        mono_ns: Callable[[], int],
        age_ns_max: int,
    ) -> None:
        self._lanes = lanes
        self._calls = calls
        self._confirm = confirm
        self._put = put
        self._rate = rate
        self._mono_ns = mono_ns
        self._age_ns_max = age_ns_max
        self._thread = Thread(target=self._run, name="shioaji orders", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No new orders any more; the cancels that wait still go out, for a bounded time."""
        for job in self._lanes.close():
            self._put(Refused(job, STOPPED, "the broker stops"))

    def join(self) -> None:
        """Wait for the end, bounded; a call that hangs stays behind on its daemon thread."""
        self._thread.join(CLOSE_SECONDS)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    # The thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._lanes.take()) is not None:
            now_ns = self._mono_ns()
            is_cancel = isinstance(job, CancelJob)
            if not is_cancel and now_ns - job.since_ns > self._age_ns_max:
                self._put(Refused(job, STALE, "it waited too long behind other calls"))
                continue
            wait_ns = self._rate.take(now_ns, urgent=is_cancel)
            if not wait_ns:
                self._make(job)
            elif isinstance(job, CancelJob):
                self._lanes.back(job)
                self._lanes.rest(wait_ns / NS_PER_SECOND)
            else:
                self._put(Refused(job, RATE, "the venue's limit of calls is used up"))

    def _make(self, job: Job) -> None:
        """One call. Whatever it raises is told: an order must never vanish in a thread."""
        try:
            match job:
                case PlaceJob():
                    self._place(job)
                case ChangeJob():
                    self._change(job)
                case CancelJob():
                    self._cancel(job)
        except BaseException as error:  # noqa: BLE001 - a panic of the SDK is a BaseException
            self._put(Raised(job, error))

    def _stands(self, job: PlaceJob | ChangeJob) -> bool:
        """Whether the approval still stands; told if not. The call follows in the next step."""
        try:
            if self._confirm(job.order):
                return True
            words = "halted between the approval and the call"
        except BaseException as error:  # noqa: BLE001 - who cannot ask has no leave
            words = f"not confirmed: {type(error).__name__}"
        self._put(Refused(job, HALTED, words))
        return False

    def _place(self, job: PlaceJob) -> None:
        # Between this answer and the call stands nothing that could wait: no lock, no queue.
        answer = self._answer(job.ref, is_new=True)
        if not self._stands(job):
            return
        trade = self._calls.place(job.contract, job.native, answer)
        self._put(Placed(job.ref, trade))

    def _change(self, job: ChangeJob) -> None:
        answer, (price, less) = self._answer(job.ref), job.change
        if self._stands(job):
            self._calls.change(job.handle, price=price, less=less, answer=answer)

    def _cancel(self, job: CancelJob) -> None:
        handle = job.handle if job.handle is not None else self._calls.find(job.venue_id)
        if handle is None:
            self._put(Refused(job, NOT_FOUND, "the venue's list does not have it"))
            return
        self._calls.cancel(handle, self._answer(job.ref))

    def _answer(self, ref: str, *, is_new: bool = False) -> Answer:
        put = self._put

        def answer(trade: Any) -> None:  # on a thread of the SDK
            put(Answered(ref, trade, is_new))

        return answer
