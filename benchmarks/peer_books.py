"""Other books as a child process: bmoscon's `order_book`, and one of `sortedcontainers`.

Runs in the benchmark environment, not in tickd's; imports nothing of tickd. One JSON object per
line: {"load": file} takes changes as integers, {"run": name} applies them once to a new book.
A change of a level is (bid, price, size), size 0 deletes; one of an order is (what, id, bid, price,
size). Behind each message both best prices are read, as whoever keeps a book does.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from order_book import OrderBook
from sortedcontainers import SortedDict

ADD, CANCEL, EXECUTE = 0, 1, 2
# Changes by message.
Levels = list[list[tuple[bool, int, int]]]
Orders = list[list[tuple[int, int, bool, int, int]]]


def levels_of_order_book(messages: Levels) -> None:
    book = OrderBook()
    bids, asks = book.bids, book.asks
    for message in messages:
        for bid, price, size in message:
            side = bids if bid else asks
            if size:
                side[price] = size
            elif price in side:
                del side[price]
        if len(bids) and len(asks):
            bids.index(0), asks.index(0)


def levels_of_sorted_dict(messages: Levels) -> None:
    bids, asks = SortedDict(), SortedDict()
    for message in messages:
        for bid, price, size in message:
            side = bids if bid else asks
            if size:
                side[price] = size
            else:
                side.pop(price, None)
        if bids and asks:
            bids.peekitem(-1), asks.peekitem(0)


def orders_of(sides: tuple[Any, Any], messages: Orders) -> None:
    """Each level a dictionary of its orders: it keeps their order."""
    bids, asks = sides
    places: dict[int, tuple[bool, int]] = {}
    for message in messages:
        for what, order, bid, price, size in message:
            if what == ADD:
                side = bids if bid else asks
                if price in side:
                    side[price][order] = size
                else:
                    side[price] = {order: size}
                places[order] = (bid, price)
                continue
            bid, price = places[order]  # noqa: PLW2901 - a change names the order alone
            side = bids if bid else asks
            level = side[price]
            left = 0 if what == CANCEL else level[order] - size
            if left > 0:
                level[order] = left
                continue
            del places[order], level[order]
            if not level:
                del side[price]


def orders_of_order_book(messages: Orders) -> None:
    book = OrderBook()
    orders_of((book.bids, book.asks), messages)


def orders_of_sorted_dict(messages: Orders) -> None:
    orders_of((SortedDict(), SortedDict()), messages)


RUNS = {
    "levels order_book": (levels_of_order_book, "levels"),
    "levels sortedcontainers": (levels_of_sorted_dict, "levels"),
    "orders order_book": (orders_of_order_book, "orders"),
    "orders sortedcontainers": (orders_of_sorted_dict, "orders"),
}


def main() -> None:
    loaded: dict[str, Any] = {}
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, object] = {}
        if "load" in order:
            loaded = json.loads(Path(order["load"]).read_text())
            answer = {"loaded": len(loaded)}
        elif "run" in order:
            run, what = RUNS[order["run"]]
            gc.collect()
            gc.disable()
            began = time.process_time_ns()
            run(loaded[what])
            spent = time.process_time_ns() - began
            gc.enable()
            answer = {"ns": spent, "units": sum(map(len, loaded[what]))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
