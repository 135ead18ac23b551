"""Replays npz files in hftbacktest itself; run by the interpreter of hftbacktest's environment.

    python hft_replay.py TICK LOT LOW,HIGH FILE...

Prints one JSON line: what the library consumed, and its last book between the ticks LOW and HIGH.
It imports nothing of tickd.
"""

import json
import sys

import numpy as np
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data.validation import validate_event_order
from numba import njit

LOCAL, TRADE = 1 << 30, 2


@njit
def feed_by_feed(hbt, counts):
    """One wake-up per feed event: every LOCAL row is consumed by itself."""
    while True:
        code = hbt.wait_next_feed(False, 10**18)
        if code == 2:
            counts[0] += 1
        depth = hbt.depth(0)
        if depth.best_bid == depth.best_bid and depth.best_ask == depth.best_ask:
            counts[2] += 1
            if not depth.best_bid < depth.best_ask:
                counts[3] += 1
        counts[1] += len(hbt.last_trades(0))
        hbt.clear_last_trades(0)
        if code == 1:  # the end of the data, which may have brought a last event
            break


@njit
def levels(depth, low, high, bids, asks):
    for tick in range(low, high + 1):
        bids[tick - low] = depth.bid_qty_at_tick(tick)
        asks[tick - low] = depth.ask_qty_at_tick(tick)


def main():
    tick, lot, files = float(sys.argv[1]), float(sys.argv[2]), sys.argv[4:]
    low, high = (int(text) for text in sys.argv[3].split(","))
    rows = trades = 0
    for file in files:
        data = np.load(file)["data"]
        validate_event_order(data)
        local = (data["ev"] & LOCAL) != 0
        rows += int(local.sum())
        trades += int((local & ((data["ev"] & 0xFF) == TRADE)).sum())
    asset = (
        BacktestAsset()
        .data(files)
        .linear_asset(1.0)
        .constant_order_latency(10_000_000, 10_000_000)
        .power_prob_queue_model(2.0)
        .no_partial_fill_exchange()
        .trading_value_fee_model(2e-4, 7e-4)
        .tick_size(tick)
        .lot_size(lot)
        .last_trades_capacity(100_000)
    )
    hbt = HashMapMarketDepthBacktest([asset])
    counts = np.zeros(4, np.int64)
    feed_by_feed(hbt, counts)
    depth = hbt.depth(0)
    bids, asks = np.zeros(high - low + 1), np.zeros(high - low + 1)
    levels(depth, low, high, bids, asks)
    said = {
        "bids": {str(low + n): float(bids[n]) for n in np.flatnonzero(bids)},
        "asks": {str(low + n): float(asks[n]) for n in np.flatnonzero(asks)},
        "rows": rows,
        "trades": trades,
        "feeds": int(counts[0]),
        "last_trades": int(counts[1]),
        "two_sided": int(counts[2]),
        "crossed": int(counts[3]),
        "best_bid": float(depth.best_bid),
        "best_ask": float(depth.best_ask),
    }
    hbt.close()
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
