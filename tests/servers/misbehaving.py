"""Strategies that do what strategies do on a bad day; run by `tests/proof/`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Literal

import msgspec

from strategy_runner.strategy import Strategy
from tickd.native import Trade


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
        what: Literal[
            "raise", "spin_50_ms", "spin_5_ms", "loop", "hog", "segfault", "exit", "print"
        ]
        after: int = 20

    config: Config

    def on_start(self) -> None:
        self.trades = 0
        self.hoard: list[bytes] = []

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1
        self.context.decide("trade", id=trade.id, price=trade.price)
        if self.trades < self.config.after:
            return
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
