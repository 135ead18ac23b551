"""Control messages: point-to-point endpoints, requests with answers, mailboxes.

They share the bus with data and go before it: a message sent while a batch is being handled runs
before the next batch. A message is delivered to exactly one endpoint. Loop thread only. It carries
no market data.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, final

from tickd.errors import Action, TickdError

__all__ = ["Endpoints", "Mailbox", "Request"]

Handler = Callable[[object], object]

# Messages that may wait while a batch is being handled; control is rare, so more is a loop gone
# wild.
LANE_MESSAGES_MAX: Final = 4096
MAILBOX_MESSAGES_MAX: Final = 1024


@final
class Request:
    """One control message in a mailbox; `respond` answers it when somebody waits for the answer."""

    __slots__ = ("_answer", "correlation", "message")

    def __init__(
        self, message: object, correlation: int, answer: Callable[[int, object], None]
    ) -> None:
        self.message: Final = message
        self.correlation: Final = correlation
        """Identifies request and answer; 0 = nobody waits."""
        self._answer = answer

    def respond(self, answer: object) -> None:
        """Answer.

        An exception is raised at the asker's. A late or second answer is counted and dropped.
        """
        self._answer(self.correlation, answer)


@final
class Mailbox:
    """A bounded queue of control messages for one task."""

    def __init__(self, name: str, messages_max: int = MAILBOX_MESSAGES_MAX) -> None:
        self.name: Final = name
        self.on_message: Callable[[], None] | None = None
        """Called when a message came; a subscription with this mailbox ends its wait."""
        self._messages: deque[Request] = deque()
        self._messages_max = messages_max
        self._waiter: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def put(self, request: Request) -> None:
        """Take a message. Raises TickdError(RETRY) when full."""
        if len(self._messages) >= self._messages_max:
            raise TickdError(
                f"mailbox {self.name} is full: {self._messages_max} messages", action=Action.RETRY
            )
        self._messages.append(request)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.on_message is not None:
            self.on_message()

    def take_now(self) -> list[Request]:
        """Return all waiting messages, oldest first."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    async def receive(self) -> Request:
        """Wait for and return the oldest message."""
        while not self._messages:
            assert self._waiter is None, f"two tasks wait for mailbox {self.name}"
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()


@final
class Endpoints:
    """The register of endpoints and the lane of waiting messages."""

    def __init__(
        self, want_turn: Callable[[], None], on_failure: Callable[[str, Exception], None]
    ) -> None:
        # Asks the bus to call `run_lane` as soon as nothing is being handled.
        self._want_turn = want_turn
        self._on_failure = on_failure
        self._targets: dict[str, Handler | Mailbox] = {}
        self._lane: deque[tuple[str, object, int]] = deque()
        self._asked: dict[int, asyncio.Future[object]] = {}
        self._correlation = 0
        self.sent_count = 0
        self.late_answers_count = 0

    def handle(self, endpoint: str, handler: Handler) -> None:
        """Open an endpoint whose messages are handled in the loop; what it returns is the answer.

        Raises TickdError(FATAL) when the name is taken.
        """
        self._open(endpoint, handler)

    def mailbox(self, endpoint: str, *, messages_max: int = MAILBOX_MESSAGES_MAX) -> Mailbox:
        """Open an endpoint whose messages wait for a task. Raises as `handle`."""
        box = Mailbox(endpoint, messages_max)
        self._open(endpoint, box)
        return box

    def close(self, endpoint: str) -> None:
        """Remove an endpoint; messages still waiting for it are refused."""
        self._targets.pop(endpoint, None)

    def send(self, endpoint: str, message: object) -> None:
        """Deliver a message, before any further data.

        Raises TickdError(RETRY): no such endpoint, full.
        """
        self._post(endpoint, message, 0)

    async def request(self, endpoint: str, message: object, *, timeout_s: float) -> object:
        """Send a message and wait for its answer.

        Raises TickdError(RETRY): no endpoint, no answer in time; and whatever the responder raised.
        """
        self._correlation += 1
        correlation = self._correlation
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._asked[correlation] = future
        try:
            self._post(endpoint, message, correlation)
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise  # the responder's own TimeoutError
            raise TickdError(
                f"no answer from {endpoint} within {timeout_s} s", action=Action.RETRY
            ) from error
        finally:
            del self._asked[correlation]

    def run_lane(self) -> None:
        """Deliver what waits; called by the bus between batches."""
        while self._lane:
            endpoint, message, correlation = self._lane.popleft()
            self._deliver(endpoint, message, correlation)

    def _open(self, endpoint: str, target: Handler | Mailbox) -> None:
        if endpoint in self._targets:
            raise TickdError(f"endpoint {endpoint} exists already")
        self._targets[endpoint] = target

    def _post(self, endpoint: str, message: object, correlation: int) -> None:
        if endpoint not in self._targets:
            raise TickdError(f"no endpoint {endpoint}", action=Action.RETRY)
        if len(self._lane) >= LANE_MESSAGES_MAX:
            raise TickdError(f"{LANE_MESSAGES_MAX} control messages wait", action=Action.RETRY)
        self.sent_count += 1
        self._lane.append((endpoint, message, correlation))
        self._want_turn()

    def _deliver(self, endpoint: str, message: object, correlation: int) -> None:
        target = self._targets.get(endpoint) or _closed
        try:
            if isinstance(target, Mailbox):
                target.put(Request(message, correlation, self._answer))
                return
            answer = target(message)
        except Exception as error:  # noqa: BLE001 - bus dispatch: a responder hurts only its asker
            if correlation:
                self._answer(correlation, error)
            else:
                self._on_failure(endpoint, error)
            return
        if correlation:
            self._answer(correlation, answer)

    def _answer(self, correlation: int, answer: object) -> None:
        future = self._asked.get(correlation)
        if future is None or future.done():
            self.late_answers_count += correlation != 0
        elif isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _closed(_message: object) -> object:
    """Stand in for an endpoint that was closed while its message waited."""
    raise TickdError("the endpoint was closed", action=Action.RETRY)
