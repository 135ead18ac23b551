"""A strategy for the proof of trading: takes a few lots where order flow leans, on both sides."""

from __future__ import annotations

from strategy_runner.indicators import Ofi
from strategy_runner.strategy import Strategy
from tickd.events import OrderState
from tickd.native import Order, Quote

MS = 1_000_000
REST_NS = 50 * MS
ENDS = (OrderState.REJECTED, OrderState.DENIED, OrderState.FILLED, OrderState.CANCELLED)


class OfiTrader(Strategy):
    """One order per instrument at a time: at the touch, taken back when it has waited too long."""

    class Config(Strategy.Config):
        """lots_max: held of an instrument at most, either way."""

        threshold: float = 0.5
        lots_max: int = 20

    config: Config

    def on_start(self) -> None:
        self.flows: dict[int, Ofi] = {}
        self.orders: dict[int, tuple[int, int]] = {}
        self.resting_until: dict[int, int] = {}
        for order in self.context.open_orders():
            self.orders[order.instrument] = (order.client_id, self.context.now_ns)

    def on_quote(self, quote: Quote) -> None:
        number, now_ns = quote.instrument, self.context.now_ns
        flow = self.flows.setdefault(number, Ofi(horizon_ns=500 * MS))
        leaning = flow.update(*quote.floats(), quote.ts_recv_ns)
        if number in self.orders:
            client_id, since_ns = self.orders[number]
            if now_ns - since_ns > 4 * REST_NS:
                self.context.cancel(client_id)
                self.orders[number] = (client_id, now_ns)
            return
        if abs(leaning) < self.config.threshold or now_ns < self.resting_until.get(number, 0):
            return
        side = "B" if leaning > 0 else "A"
        lot = self.context.instruments[number].lot
        held = self.context.position(number).size
        if (held if side == "B" else -held) >= self.config.lots_max * lot:
            return
        price = quote.bid_price if side == "B" else quote.ask_price
        if number % 2:  # some take, some wait
            price = quote.ask_price if side == "B" else quote.bid_price
        client_id = self.context.submit(number, side=side, price=price, size=3 * lot)
        self.orders[number] = (client_id, now_ns)

    def on_order(self, order: Order) -> None:
        if order.state in ENDS or order.state == OrderState.EXPIRED:
            known = self.orders.get(order.instrument)
            if known is not None and known[0] == order.client_id:
                del self.orders[order.instrument]
                self.resting_until[order.instrument] = self.context.now_ns + REST_NS
