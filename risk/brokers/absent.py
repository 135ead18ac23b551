"""The broker of an account that has none: nothing leaves, and it says why.

It stands where a broker could not be made, so that one account's credentials stop nothing else.
"""

from __future__ import annotations

from typing import Final, NoReturn, final

from risk.approval import ApprovedOrder
from risk.errors import BrokerError, NotSentError
from risk.orders import Snapshot, Wanted
from tickd.errors import Action, TickdError

__all__ = ["AbsentBroker"]


@final
class AbsentBroker:
    """Implements `risk.brokers.port.Broker`; `why`: what kept the real one from being made."""

    def __init__(self, why: TickdError) -> None:
        self._words: Final = str(why)
        self._hint: Final = why.hint
        self.is_up: Final = False

    async def run(self) -> None:
        """Raises BrokerError(FATAL) at once: the account is halted for it."""
        raise BrokerError(self._words, action=Action.FATAL, hint=self._hint)

    def send(self, order: ApprovedOrder, ref: str) -> None:  # noqa: ARG002 - the port's
        self._refuse()

    def cancel(self, order: Wanted) -> None:  # noqa: ARG002
        self._refuse()

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:  # noqa: ARG002
        self._refuse()

    async def snapshot(self) -> Snapshot:
        raise BrokerError(self._words, hint=self._hint)

    async def cancel_all(self) -> int:
        raise BrokerError(self._words, action=Action.FATAL, hint=self._hint)

    def _refuse(self) -> NoReturn:
        raise NotSentError(self._words, hint=self._hint)
