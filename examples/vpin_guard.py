"""Quotes both sides, and stands aside while trades look informed (VPIN).

tickd replay capture.gz --strategy examples/vpin_guard.py:VpinGuard
"""

from strategy_runner.indicators import Vpin
from strategy_runner.strategy import Strategy
from strategy_runner.timers import Timer
from tickd.native import Trade

SECOND_NS = 1_000_000_000


class VpinGuard(Strategy):
    """Alerts on where VPIN stands among its own past, never on its level."""

    class Config(Strategy.Config):
        """The buckets, and where on their record it stands aside."""

        bucket_volume: float = 5.0
        buckets: int = 20
        stand_aside: float = 0.9  # share of past values that are not above the present one
        come_back: float = 0.7
        edge_ticks: int = 2  # how far from the touch it quotes

    config: Config

    def on_start(self) -> None:
        self.vpin: dict[int, Vpin] = {}
        self.aside: set[int] = set()
        self.context.call_every(SECOND_NS, "requote")

    def on_trade(self, trade: Trade) -> None:
        vpin = self.vpin.get(trade.instrument)
        if vpin is None:
            vpin = Vpin(self.config.bucket_volume, self.config.buckets)
            self.vpin[trade.instrument] = vpin
        aggressor = {"B": 1, "A": -1, "N": 0}[trade.side]
        vpin.update(trade.price_f, trade.size_f, aggressor, trade.ts_recv_ns)
        if not vpin.is_ready:
            return
        if trade.instrument not in self.aside:
            if vpin.cdf >= self.config.stand_aside:
                self.aside.add(trade.instrument)
                self.context.decide("aside", vpin=vpin.value, toxic=vpin.is_toxic)
                for order in self.context.open_orders():
                    self.context.cancel(order.client_id)
        elif vpin.cdf <= self.config.come_back:
            self.aside.discard(trade.instrument)
            self.context.decide("back", vpin=vpin.value)

    def on_timer(self, _timer: Timer) -> None:
        for instrument in self.context.instruments.values():
            top = self.context.last.top(instrument.id)
            if top is None or instrument.id in self.aside or self.context.open_orders():
                continue
            bid, _, ask, _ = top
            edge = self.config.edge_ticks * instrument.tick
            self.context.submit(instrument.id, side="B", price=bid - edge, size=instrument.lot)
            self.context.submit(instrument.id, side="A", price=ask + edge, size=instrument.lot)
