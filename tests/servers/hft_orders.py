"""Sends orders in hftbacktest itself; run by the interpreter of hftbacktest's environment.

    python hft_orders.py QUEUE DATA.npy ORDERS.json ENTRY_NS RESPONSE_NS STEP_NS END_NS

QUEUE: `risk_averse` or the power of the probabilistic queue. ORDERS: [number, "B" or "A", price,
size, sent at, cancelled at]. Prices are ticks of 1, sizes lots of 1. Prints one JSON line: [number,
time at the exchange, price of the last fill, traded so far] for each change of what is traded.
It imports nothing of tickd.
"""

import json
import sys
from pathlib import Path

import numpy as np
from hftbacktest import GTC, LIMIT, BacktestAsset, HashMapMarketDepthBacktest


def main():
    queue, data, orders = (
        sys.argv[1],
        np.load(sys.argv[2]),
        json.loads(Path(sys.argv[3]).read_text()),
    )
    entry_ns, response_ns, step_ns, end_ns = map(int, sys.argv[4:])
    asset = (
        BacktestAsset()
        .data([data])
        .linear_asset(1.0)
        .constant_order_latency(entry_ns, response_ns)
        .partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(1.0)
        .lot_size(1.0)
    )
    asset = (
        asset.risk_adverse_queue_model()
        if queue == "risk_averse"
        else asset.power_prob_queue_model(float(queue))
    )
    hbt = HashMapMarketDepthBacktest([asset])
    todo = sorted(
        [(at, 0, number, side, price, size) for number, side, price, size, at, _ in orders]
        + [(at, 1, number, side, price, size) for number, side, price, size, _, at in orders]
    )
    traded, changes = {}, []

    def look():
        for number in list(traded):
            order = hbt.orders(0).get(number)
            if order is None:
                continue
            done = order.qty - order.leaves_qty
            if done != traded[number]:
                traded[number] = done
                changes.append(
                    [number, int(order.exch_timestamp), float(order.exec_price), float(done)]
                )

    hbt.elapse(step_ns)  # before it, there is no time
    while hbt.current_timestamp < end_ns:
        while todo and todo[0][0] <= hbt.current_timestamp:
            _, cancels, number, side, price, size = todo.pop(0)
            if not cancels:
                send = hbt.submit_buy_order if side == "B" else hbt.submit_sell_order
                send(0, number, price, size, GTC, LIMIT, False)
                traded[number] = 0.0
            elif (order := hbt.orders(0).get(number)) is not None and order.cancellable:
                hbt.cancel(0, number, False)
        if hbt.elapse(step_ns) != 0:
            break
        look()
    look()
    hbt.close()
    sys.stdout.write(json.dumps(changes) + "\n")


if __name__ == "__main__":
    main()
