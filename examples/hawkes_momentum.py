"""Goes with bursts of trades that excite each other on one side (Hawkes).

tickd replay capture.gz --strategy examples/hawkes_momentum.py:HawkesMomentum
"""

from typing import Literal

from strategy_runner.indicators import HawkesBivariate
from strategy_runner.strategy import Strategy
from strategy_runner.timers import Timer
from tickd.native import Trade

MS = 1_000_000


class HawkesMomentum(Strategy):
    """Long or short while one side's intensity is far above its base and above the other's."""

    class Config(Strategy.Config):
        """The process, and from where on it counts as a burst."""

        base: float = 2.0  # trades per second and side without excitation
        own: float = 8.0  # excitation by the same side; own / decay < 1
        other: float = 1.0
        decay: float = 12.0  # per second
        enter: float = 3.0  # intensity over base
        lead: float = 2.0  # intensity over the other side's
        hold_ms: int = 500

    config: Config

    def on_start(self) -> None:
        own, other = self.config.own, self.config.other
        self.hawkes = HawkesBivariate(
            (self.config.base, self.config.base), ((own, other), (other, own)), self.config.decay
        )
        # The side it is in, and until when.
        self.held: tuple[Literal["B", "A"], int] | None = None
        self.context.call_every(100 * MS, "leave")

    def on_trade(self, trade: Trade) -> None:
        if trade.side == "N":
            return
        buy, sell = self.hawkes.update(trade.ts_recv_ns, 1 if trade.side == "B" else -1)
        if self.held is None and self.is_led(buy, sell):
            self.enter(trade.instrument, "B", buy)
        elif self.held is None and self.is_led(sell, buy):
            self.enter(trade.instrument, "A", sell)

    def is_led(self, mine: float, theirs: float) -> bool:
        return mine > self.config.enter * self.config.base and mine > self.config.lead * theirs

    def enter(self, instrument: int, side: Literal["B", "A"], intensity: float) -> None:
        lot = self.context.instruments[instrument].lot
        self.context.submit(instrument, side=side, size=lot, time_in_force="ioc")
        self.context.decide("enter", side=side, intensity=intensity)
        self.held = (side, self.context.now_ns + self.config.hold_ms * MS)

    def on_timer(self, _timer: Timer) -> None:
        if self.held is None or self.context.now_ns < self.held[1]:
            return
        buy, sell = self.hawkes.peek(self.context.now_ns)
        mine, theirs = (buy, sell) if self.held[0] == "B" else (sell, buy)
        if mine < self.config.lead * theirs or mine < self.config.enter * self.config.base:
            self.context.decide("leave", side=self.held[0], intensity=mine)
            self.held = None
