"""Strategies that do what strategies do on a bad day; run by `tests/proof/` and benchmarks."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from strategy_runner.strategy import Strategy
from tickd.native import Trade

Way: TypeAlias = Literal[
    "raise", "spin_50_ms", "spin_5_ms", "loop", "hog", "segfault", "exit", "print"
]


class Counting(Strategy):
    """Behaves: counts trades and says how many, four times a second."""

    def on_start(self) -> None:
        self.trades = 0
        self.context.call_every(250_000_000)

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1

    def on_timer(self, timer: object) -> None:
        self.context.decide("trades", count=self.trades)


class Bad(Strategy):
    """After some trades it does `what`."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
        what: Way
        after: int = 20

    config: Config

    def on_start(self) -> None:
        self.trades = 0
        self.hoard: list[bytes] = []

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1
        self.context.decide("trade", id=trade.id, price=trade.price)
        if self.trades >= self.config.after:
            self.misbehave()

    def misbehave(self) -> None:
        match self.config.what:
            case "raise":
                raise RuntimeError("a bad day")
            case "spin_50_ms" | "spin_5_ms" as spin:
                until = time.monotonic() + int(spin.split("_")[1]) / 1e3
                while time.monotonic() < until:
                    pass
            case "loop":
                while True:
                    pass
            case "hog":
                self.hoard.append(b"x" * (16 << 20))
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(7)
            case "print":
                print("x" * 100_000)  # noqa: T201


class Hanging(Strategy):
    """Awaits what never comes."""

    async def on_trade(self, trade: Trade) -> None:
        await asyncio.Event().wait()


# A look at a file costs some microseconds: not for every trade.
TRADES_PER_LOOK = 32


class Commanded(Bad):
    """Does `what` as long as a file names it."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
        what: Way
        file: str

    config: Config  # type: ignore[assignment]

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1
        if self.trades % TRADES_PER_LOOK == 0 and is_named(self.config.file, self.config.what):
            self.misbehave()


class CommandedToHang(Strategy):
    """Awaits what never comes as soon as a file names it."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
        what: Literal["hang"] = "hang"
        file: str

    config: Config

    def on_start(self) -> None:
        self.trades = 0

    async def on_trade(self, trade: Trade) -> None:
        self.trades += 1
        if self.trades % TRADES_PER_LOOK == 0 and is_named(self.config.file, self.config.what):
            await asyncio.Event().wait()


def is_named(file: str, what: str) -> bool:
    return Path(file).read_text() == what
