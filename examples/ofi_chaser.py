"""Works an order by chasing the best price only while order flow runs against it.

tickd replay capture.gz --strategy examples/ofi_chaser.py:OfiChaser --params '{"side": "B"}'
"""

from typing import Literal

from strategy_runner.indicators import Ofi
from strategy_runner.strategy import Strategy
from tickd.events import OrderState
from tickd.native import Order, Quote

MS = 1_000_000


class OfiChaser(Strategy):
    """One passive order at the touch; it moves with the price when flow says it will not return."""

    class Config(Strategy.Config):
        """How long and how hard it chases."""

        side: Literal["B", "A"] = "B"
        lots: int = 1
        window_ms: int = 1_000  # of order flow
        threshold: float = 0.5  # of net size, in units, from which on flow counts
        rest_ms: int = 200  # an order stays at least so long, and so does what comes behind its end

    config: Config

    def on_start(self) -> None:
        self.flow = Ofi(horizon_ns=self.config.window_ms * MS)
        self.sign = 1 if self.config.side == "B" else -1
        # The order that is out: its client id, its price, when it may be moved.
        self.order: tuple[int, int, int] | None = None
        self.again_ns = 0  # when the next one may go, where none is out

    def on_quote(self, quote: Quote) -> None:
        flow = self.flow.update(*quote.floats(), quote.ts_recv_ns)
        best = quote.bid_price if self.config.side == "B" else quote.ask_price
        if self.order is None:
            if self.context.now_ns >= self.again_ns:
                self.place(quote.instrument, best)
            return
        number, price, movable_ns = self.order
        is_left_behind = (best - price) * self.sign > 0
        runs_away = flow * self.sign > self.config.threshold
        if is_left_behind and runs_away and self.context.now_ns >= movable_ns:
            # Flow agrees with the move: waiting for the price to come back would be waiting long.
            self.context.cancel(number)
            self.context.decide("chase", by=(best - price) * self.sign, flow=flow)
            self.place(quote.instrument, best)

    def place(self, instrument: int, price: int) -> None:
        number = self.context.submit(
            instrument,
            side=self.config.side,
            price=price,
            size=self.config.lots * self.context.instruments[instrument].lot,
            time_in_force="post_only",
        )
        self.order = (number, price, self.context.now_ns + self.config.rest_ms * MS)

    def on_order(self, order: Order) -> None:
        is_ours = self.order is not None and order.client_id == self.order[0]
        if is_ours and OrderState(order.state).is_end:
            # Filled, refused or denied: asking at every quote would change nothing but the log.
            self.order = None
            self.again_ns = self.context.now_ns + self.config.rest_ms * MS
