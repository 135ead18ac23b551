"""NautilusTrader's backtest order path as a child process: submit, ack, cancel, ack.

Runs in the benchmark environment, not in tickd's; imports nothing of tickd. {"pairs": n} runs its
BacktestEngine over quotes with a strategy that submits a limit order far from the market at one
quote and cancels it at the next (n times), and over the same quotes with a strategy that does
nothing; it answers the difference: what the orders cost.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from decimal import Decimal

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import TraderId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

INSTRUMENT = TestInstrumentProvider.btcusdt_perp_binance()
# 50 submissions a second: its risk engine lets 100 through.
STEP_NS = 10_000_000


class Watches(Strategy):
    def on_start(self) -> None:
        self.quotes = self.acks = self.cancels = 0
        self.subscribe_quote_ticks(INSTRUMENT.id)

    def on_quote_tick(self, _tick: QuoteTick) -> None:
        self.quotes += 1


class Orders(Watches):
    def on_start(self) -> None:
        super().on_start()
        self.order = None
        self.price, self.size = Price.from_str("50000.0"), Quantity.from_str("0.010")

    def on_quote_tick(self, _tick: QuoteTick) -> None:
        self.quotes += 1
        if self.order is None:
            self.order = self.order_factory.limit(
                instrument_id=INSTRUMENT.id,
                order_side=OrderSide.BUY,
                quantity=self.size,
                price=self.price,
            )
            self.submit_order(self.order)
        else:
            self.cancel_order(self.order)
            self.order = None

    def on_order_accepted(self, _event: object) -> None:
        self.acks += 1

    def on_order_canceled(self, _event: object) -> None:
        self.cancels += 1


def quotes(count: int) -> list[QuoteTick]:
    bid, ask = Price.from_str("60000.0"), Price.from_str("60000.1")
    size = Quantity.from_str("1.000")
    return [
        QuoteTick(INSTRUMENT.id, bid, ask, size, size, at * STEP_NS, at * STEP_NS)
        for at in range(1, count + 1)
    ]


def spent(kind: type[Watches], pairs: int) -> int:
    config = BacktestEngineConfig(
        trader_id=TraderId("BENCH-001"), logging=LoggingConfig(bypass_logging=True)
    )
    engine = BacktestEngine(config=config)
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(1_000_000, USDT)],
        default_leverage=Decimal(10),
    )
    engine.add_instrument(INSTRUMENT)
    engine.add_data(quotes(2 * pairs))
    strategy = kind()
    engine.add_strategy(strategy)
    gc.collect()
    gc.disable()
    began = time.process_time_ns()
    engine.run()
    ended = time.process_time_ns()
    gc.enable()
    assert strategy.quotes == 2 * pairs
    if kind is Orders:
        assert (strategy.acks, strategy.cancels) == (pairs, pairs), (
            strategy.acks,
            strategy.cancels,
        )
    engine.dispose()
    return ended - began


def main() -> None:
    for line in sys.stdin:
        pairs = int(json.loads(line)["pairs"])
        answer = {"ns": spent(Orders, pairs) - spent(Watches, pairs), "units": pairs}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
