"""One strategy from its config to its end; what it raises ends here.

It makes the object, finds its handlers, drives its coroutines and timers, keeps its state. Who
wants which event, and the calls per event, are the dispatch loop's.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final, final

from strategy_runner.config import StrategyConfig
from strategy_runner.context import Context
from strategy_runner.errors import StrategyError
from strategy_runner.loading import config_of, strategy_class
from strategy_runner.strategy import Strategy
from tickd.errors import TickdError

__all__ = ["HostedStrategy", "check_loads", "reason_of"]

Handler = Callable[..., Any]
# Callbacks that the dispatch loop calls, by the name that it has for them.
_PER_EVENT: Final = ("trade", "quote", "book", "signal")
REASON_CHARACTERS_MAX: Final = 512
# Of recorded time; what a strategy changed later than this is lost with a kill.
SAVE_EVERY_NS: Final = 1_000_000_000


@final
class HostedStrategy:
    """A strategy between `start` and its end; `stopped` says why it ended."""

    def __init__(self, config: StrategyConfig, context: Context, *, saves: bool) -> None:
        self.config: Final = config
        self.context: Final = context
        self.stopped: str | None = None
        self.failures = 0
        # Times that it was made again.
        self.restarts = 0
        # It has failed and is made again at a later clock record.
        self.waits = False
        self._saves = saves
        self._save_due_ns = 0
        self._strategy: Strategy | None = None
        # Made with the first coroutine.
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> dict[str, Handler] | None:
        """Return the handlers of the started strategy; None when it failed."""
        try:
            kind = strategy_class(self.config.class_)
            handlers = callbacks_of(kind)
            strategy = kind(config_of(kind, self.config.params), self.context)
            self._strategy = strategy
            bound = {name: self._bind(strategy, name) for name in handlers}
            if _overrides(kind, "start"):
                self._bind(strategy, "start")()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a strategy's own code
            self.fail(error)
            return None
        if "batch" in bound:
            bound["batch"] = self._gathering(bound["batch"])
        bound["clock"] = self._on_clock
        return bound

    def fail(self, error: BaseException) -> None:
        """End it for what it raised; it is called no more."""
        self.failures += 1
        self.stopped = reason_of(error)
        expected = isinstance(error, TickdError)
        self.context.log.error(
            "strategy_failed", reason=self.stopped, exc_info=None if expected else error
        )
        self._end()

    def stop(self, reason: str) -> None:
        """End it in order: `on_stop`, then its state. Idempotent."""
        if self.stopped is not None:
            return
        strategy = self._strategy
        try:
            if strategy is not None and _overrides(type(strategy), "stop"):
                self._bind(strategy, "stop")()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a strategy's own code
            self.fail(error)
            return
        self.stopped = reason
        self._end()

    @property
    def is_over(self) -> bool:
        return self.stopped is not None and not self.waits

    def _end(self) -> None:
        try:
            self.context.state.save()
        except StrategyError as error:
            self.context.log.error("strategy_state_lost", reason=str(error))  # noqa: TRY400
        if self._loop is not None:
            _close(self._loop)
            self._loop = None

    def _bind(self, strategy: Strategy, name: str) -> Handler:
        method: Handler = getattr(strategy, f"on_{name}")
        if not inspect.iscoroutinefunction(method):
            return method
        if _is_loop_running():
            raise StrategyError(
                f"on_{name} is async, and the strategy shares the daemon's event loop",
                hint='isolation = "process", or a plain def',
            )

        def call(*arguments: object) -> None:
            self._await(method(*arguments), name)

        return call

    def _gathering(self, handler: Handler) -> Handler:
        context = self.context

        def call(events: object) -> None:
            context.is_gathering = True
            handler(events)
            context.is_gathering = False

        return call

    def _await(self, awaitable: Coroutine[Any, Any, object], name: str) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._bounded(awaitable, name))

    async def _bounded(self, awaitable: Coroutine[Any, Any, object], name: str) -> None:
        limit_ms = self.config.callback_timeout_ms
        limit = asyncio.timeout(limit_ms / 1e3)
        try:
            async with limit:
                await awaitable
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StrategyError(f"on_{name} awaited longer than {limit_ms} ms") from error

    def _on_clock(self) -> None:
        now_ns = self.context.now_ns
        strategy = self._strategy
        if len(self.context.timers) and strategy is not None:
            handler = self._bind(strategy, "timer")
            for timer in self.context.timers.due(now_ns):
                handler(timer)
        if self._saves and now_ns >= self._save_due_ns:
            self._save_due_ns = now_ns + SAVE_EVERY_NS
            self.context.state.save()


def _overrides(kind: type[Strategy], name: str) -> bool:
    return getattr(kind, f"on_{name}") is not getattr(Strategy, f"on_{name}")


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """End what the strategy left behind in its loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=1))
    loop.close()


def check_loads(config: StrategyConfig) -> None:
    """Import the class and take its parameters, without making a strategy.

    Raises StrategyError: it could not be started.
    """
    try:
        kind = strategy_class(config.class_)
        config_of(kind, config.params)
        callbacks_of(kind)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise StrategyError(f"strategy {config.name}: {reason_of(error)}") from error


def callbacks_of(kind: type[Strategy]) -> list[str]:
    """Return the callbacks that the class overrides.

    Raises StrategyError for a mix that a replay could not repeat.
    """
    names = [name for name in (*_PER_EVENT, "order", "batch") if _overrides(kind, name)]
    mixed = [name for name in names if name in _PER_EVENT]
    if "batch" in names and mixed:
        raise StrategyError(
            f"{kind.__name__} has on_batch and on_{mixed[0]}",
            hint="one or the other: which of them is first would depend on the traffic",
        )
    return names


def reason_of(error: BaseException) -> str:
    """One line: what was raised, and the last place of it, or what may help."""
    text = str(error) if isinstance(error, TickdError) else f"{type(error).__name__}: {error}"
    if isinstance(error, TickdError) and error.hint:
        text += f"; {error.hint}"
    frames = traceback.extract_tb(error.__traceback__)
    if frames and not isinstance(error, TickdError):
        last = frames[-1]
        text += f" ({last.filename.rpartition('/')[2]}:{last.lineno})"
    return " ".join(text.split())[:REASON_CHARACTERS_MAX]
