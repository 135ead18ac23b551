"""An indicator of your own in Python, beside the native ones.

tickd replay capture.gz --strategy examples/custom_indicator.py:SpreadPayer
"""

from math import nan

from strategy_runner.indicators import WeightedMid
from strategy_runner.strategy import Strategy
from strategy_runner.timers import Timer
from tickd.native import Quote, Trade

SECOND_NS = 1_000_000_000


class EffectiveSpread:
    """Twice the distance of a trade from the mid before it, decayed per trade."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.value = nan
        self.count = 0

    @property
    def is_ready(self) -> bool:
        return self.count > 0

    def update(self, price: float, mid: float) -> float:
        spread = 2 * abs(price - mid)
        self.count += 1
        if self.count == 1:
            self.value = spread
        self.value += self.weight * (spread - self.value)
        return self.value


class SpreadPayer(Strategy):
    """Tells each second what takers paid, next to what the quotes ask for."""

    class Config(Strategy.Config):
        """How fast it forgets."""

        weight: float = 0.02

    config: Config

    def on_start(self) -> None:
        self.paid: dict[int, EffectiveSpread] = {}
        self.mids: dict[int, WeightedMid] = {}
        self.context.call_every(SECOND_NS, "tell")

    def on_quote(self, quote: Quote) -> None:
        mid = self.mids.setdefault(quote.instrument, WeightedMid())
        mid.update(*quote.floats(), quote.ts_recv_ns)

    def on_trade(self, trade: Trade) -> None:
        mid = self.mids.get(trade.instrument)
        if mid is not None and mid.is_ready:
            paid = self.paid.setdefault(trade.instrument, EffectiveSpread(self.config.weight))
            paid.update(trade.price_f, mid.value)

    def on_timer(self, _timer: Timer) -> None:
        for number, paid in self.paid.items():
            symbol = self.context.instruments[number].symbol
            self.context.decide("paid", symbol=symbol, spread=paid.value, trades=paid.count)
