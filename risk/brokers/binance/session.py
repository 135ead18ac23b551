"""One life of an account's connections: log on, listen, keep the venue's promises alive, end.

Spot: one connection of the WebSocket API carries orders and the user data stream. USD-M: a second
one listens, by a listen key. It knows no order; what is heard goes to its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import Final, TypeVar

import msgspec
import structlog

from risk.brokers.binance.config import BinanceConfig
from risk.brokers.binance.errors import RefusedError, UnclearError, refusal_of, vendor_text
from risk.brokers.binance.line import Line
from risk.brokers.binance.reports import Answer
from risk.brokers.binance.rest import Rest
from risk.brokers.binance.signing import Key
from risk.brokers.binance.wire import Call, Wire
from risk.errors import BrokerError
from tickd.errors import Action
from tickd.ports import Clock

__all__ = ["Session"]

log = structlog.get_logger(__name__)

# A heartbeat comes this often within the venue's countdown.
HEARTBEATS: Final = 4
# How soon a renewal of the listen key or of the time that failed is tried again.
AGAIN_S: Final = 15.0
T = TypeVar("T", bound=msgspec.Struct)


class _ListenKey(msgspec.Struct, rename="camel"):
    listen_key: str


class _Mode(msgspec.Struct, rename="camel"):
    dual_side_position: bool


class Session:
    """Connections that live and end together."""

    def __init__(
        self,
        config: BinanceConfig,
        key: Key,
        wire: Wire,
        rest: Rest,
        *,
        clock: Clock,
        on_answer: Callable[[Answer], None],
        on_event: Callable[[bytes | msgspec.Raw], None],
        on_end: Callable[[str], None],
        is_halted: Callable[[], bool],
        ssl_context: SSLContext | None,
    ) -> None:
        self._config = config
        self._key = key
        self._wire = wire
        self._rest = rest
        self._clock = clock
        self._on_answer = on_answer
        self._on_event = on_event
        self._on_end = on_end
        self._is_halted = is_halted
        self._ssl = ssl_context
        self._answer = msgspec.json.Decoder(Answer)
        self._awaited: dict[str, asyncio.Future[Answer]] = {}
        self._over = asyncio.Event()
        self._drifted = asyncio.Event()
        self._api = Line("order connection", self._heard, self.end)
        self._stream: Line | None = None
        self._signs = True  # every request for itself
        self.ended: str | None = None
        self.fatal: BrokerError | None = None

    # Life -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and log on. Raises BrokerError (RETRY; FATAL: credentials, position mode)."""
        await self._rest.sync_time()
        if self._config.market == "usdm":
            await self._refuse_two_sides()
            await self._listen()
        await self._api.open(self._config.endpoints.ws_api, self._config, self._ssl)
        if self._key.can_log_on:
            await self._call("logon", Call("session.logon", {}))
            self._signs = False
        if self._config.market == "spot":
            await self._call("subscribe", Call("userDataStream.subscribe.signature", {}))
        if self._config.countdown_ms:
            await self._beat()
        if self.ended is not None:
            raise UnclearError(self.ended)

    async def keep(self, tick: Callable[[], None], tick_s: float) -> None:
        """Renew what runs out and call `tick`, until the session ends. Raises nothing."""
        config = self._config
        work: dict[str, Awaitable[None]] = {
            "tick": self._tick(tick, tick_s),
            "time": self._every(config.time_sync_s, self._rest.sync_time),
            "time refused": self._resync(),
        }
        if config.market == "usdm":
            work["listen key"] = self._every(config.listen_key_renew_s, self._renew, is_vital=True)
        if config.countdown_ms:
            period_s = config.countdown_ms / 1_000 / HEARTBEATS
            work["countdown"] = self._every(period_s, self._beat, again_s=period_s)
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(_run(each), name=f"binance {name}") for name, each in work.items()
            ]
            await self._over.wait()
            for keeper in keepers:
                keeper.cancel()

    def resync(self) -> None:
        """The venue refused a timestamp: ask for its time at once."""
        self._drifted.set()

    def end(self, words: str) -> None:
        """End all of it; only the first call counts."""
        if self.ended is not None:
            return
        self.ended = words
        for line in (self._api, self._stream):
            if line is not None:
                line.cut(words)
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(UnclearError(words))
        self._awaited.clear()
        self._over.set()
        self._on_end(words)

    # Orders ---------------------------------------------------------------------------------

    def send(self, request_id: str, call: Call) -> None:
        """Write a request in this step. Raises as `Line.send`."""
        self._api.send(self._frame(request_id, call))

    def _frame(self, request_id: str, call: Call) -> bytes:
        params = {
            **call.params,
            "recvWindow": self._config.recv_window_ms,
            "timestamp": self._rest.timestamp_ms,
        }
        if self._signs:
            params = self._key.signed(params)
        return msgspec.json.encode({"id": request_id, "method": call.method, "params": params})

    # Heard ----------------------------------------------------------------------------------

    def _heard(self, message: bytes) -> None:
        try:
            answer = self._answer.decode(message)
        except msgspec.MsgspecError as error:
            self.end(f"a message that cannot be read: {vendor_text(str(error))}")
            return
        if answer.is_event:
            self._on_event(answer.event)
        elif isinstance(answer.id, str) and answer.id in self._awaited:
            future = self._awaited.pop(answer.id)
            if not future.done():
                future.set_result(answer)
        else:
            self._on_answer(answer)

    async def _call(self, name: str, call: Call) -> Answer:
        """A request that is waited for. Raises RefusedError, UnclearError."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._awaited[name] = future
        self.send(name, call)
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                answer = await future
        except TimeoutError:
            raise UnclearError(f"{call.method}: no answer") from None
        finally:
            self._awaited.pop(name, None)
        if answer.status == 200:
            return answer
        refusal = refusal_of(answer.status or 0, answer.error)
        words = f"{call.method}: {refusal.status} {refusal.code} {refusal.words}"
        raise RefusedError(words, refusal)

    # USD-M ----------------------------------------------------------------------------------

    async def _refuse_two_sides(self) -> None:
        body = await self._rest.ask(self._wire.position_mode())
        if _read(body, _Mode).dual_side_position:
            raise BrokerError(
                "the account is in hedge mode: only one-way mode is supported",
                action=Action.FATAL,
                hint="change the position mode at the venue while no position is open",
            )

    async def _listen(self) -> None:
        body = await self._rest.ask(self._wire.listen_key("POST"))
        listen_key = _read(body, _ListenKey).listen_key
        line = Line("user data stream", self._on_event, self.end)
        self._stream = line
        await line.open(self._config.stream_of(listen_key), self._config, self._ssl)

    async def _renew(self) -> None:
        await self._rest.ask(self._wire.listen_key("PUT"))

    async def _beat(self) -> None:
        """Put the venue's countdowns back to their full length; halted, we are silent.

        What we cannot cancel then, the venue does.
        """
        if self._is_halted():
            return
        for symbol in self._config.symbols:
            await self._rest.send(self._wire.countdown(symbol, self._config.countdown_ms))

    async def _every(
        self,
        period_s: float,
        work: Callable[[], Awaitable[None]],
        *,
        again_s: float = AGAIN_S,
        is_vital: bool = False,
    ) -> None:
        """Do `work` again and again; a vital one that is refused ends the session."""
        pause_s = period_s
        while True:
            await self._clock.sleep(pause_s)
            pause_s = period_s
            try:
                await work()
            except BrokerError as error:
                refused = isinstance(error, RefusedError)
                if refused and error.action is Action.FATAL:
                    self.fatal = error
                if self.fatal is not None or (refused and is_vital):
                    self.end(str(error))
                    return
                log.warning("binance_upkeep_failed", words=str(error))
                pause_s = min(again_s, period_s)

    async def _resync(self) -> None:
        while True:
            await self._drifted.wait()
            self._drifted.clear()
            try:
                await self._rest.sync_time()
            except BrokerError as error:
                log.warning("binance_upkeep_failed", words=str(error))

    async def _tick(self, tick: Callable[[], None], tick_s: float) -> None:
        while True:
            await self._clock.sleep(tick_s)
            tick()


async def _run(work: Awaitable[None]) -> None:
    await work


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise UnclearError(f"an answer that cannot be read: {vendor_text(str(error))}") from error
