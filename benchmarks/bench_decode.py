"""Decode from Python: bursts of 64 records, against msgspec into typed structs.

Prints the best of several rounds by CPU time, messages and levels per second, and the ratio to the
same messages decoded by msgspec alone (no exact numbers, no sequence check, no book state).
Budgets: ARCHITECTURE.md §6.
Run: python benchmarks/bench_decode.py [--rounds 15] [--check]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from tickd.native import BUILD_PROFILE, Decoder

BURST = 64
BUDGETS = {"trade": 3e6, "depth of 8 levels": 1e6}
LEVELS_BUDGET = 15e6
INSTRUMENT = (
    b'{"kind":"instrument","venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual",'
    b'"price_scale":2,"size_scale":3,"tick":10,"lot":1,"multiplier":"1"}'
)
CONNECT = b'{"kind":"connect","connection":7,"venue":"binance-usdm"}'


class Shape(NamedTuple):
    name: str
    payload: Callable[[int], bytes]
    levels: int
    messages: int
    struct: type


class Trade(msgspec.Struct):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class Quote(msgspec.Struct):
    s: str
    u: int
    b: str
    B: str
    a: str
    A: str
    T: int


class Depth(msgspec.Struct):
    s: str
    T: int
    U: int
    u: int
    pu: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


Data = TypeVar("Data")


class Combined(msgspec.Struct, Generic[Data]):
    data: Data


def record(number: int, payload: bytes, *, kind: bytes = b"W", connection: int = 7) -> bytes:
    stamps = b"1723161255030314667 8112345678901"
    return b"%d %b %d %b %d %b\n" % (number, stamps, connection, kind, len(payload), payload)


def trade(number: int) -> bytes:
    return (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,'
        b'"s":"BTCUSDT","t":%d,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
        % (5_266_583_935 + number)
    )


def quote(number: int) -> bytes:
    return (
        b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"s":"BTCUSDT",'
        b'"b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,'
        b'"E":1723161256313}}' % (5_123_107_839_020 + number)
    )


def depth(levels: int) -> Callable[[int], bytes]:
    def side(base: int) -> bytes:
        return b",".join(
            b'["%d.%d0","%d.%03d"]' % (base + n, n % 10, n % 40, n * 37 % 1000)
            for n in range(levels // 2)
        )

    bids, asks = side(58_710), side(61_800)

    def payload(number: int) -> bytes:
        last = 5_123_107_837_557 + number * 100
        return (
            b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,'
            b'"T":1723161256298,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[%b],"a":[%b]}}'
            % (last - 93, last, last - 100, bids, asks)
        )

    return payload


SHAPES = [
    Shape("trade", trade, 1, 12_800, Trade),
    Shape("quote", quote, 1, 12_800, Quote),
    Shape("depth of 8 levels", depth(8), 8, 12_800, Depth),
    Shape("depth of 100 levels", depth(100), 100, 3_200, Depth),
]


def native_seconds(shape: Shape, rounds: int) -> float:
    numbers = range(shape.messages)
    bursts = [
        b"".join(record(3 + n, shape.payload(n)) for n in numbers[at : at + BURST])
        for at in range(0, shape.messages, BURST)
    ]
    best = float("inf")
    for _ in range(rounds):
        decoder = Decoder()
        decoder.decode(record(1, INSTRUMENT, kind=b"C") + record(2, CONNECT, kind=b"C"))
        start = time.process_time()
        for burst in bursts:
            decoder.decode(burst)
        best = min(best, time.process_time() - start)
        if decoder.take_refusals():
            sys.exit(f"{shape.name}: refused frames")
    return best


def msgspec_seconds(shape: Shape, rounds: int) -> float:
    messages = [shape.payload(number) for number in range(shape.messages)]
    decode = msgspec.json.Decoder(Combined[shape.struct]).decode  # type: ignore[name-defined]
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for message in messages:
            decode(message)
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="fail below the budgets")
    arguments = parser.parse_args()
    if BUILD_PROFILE != "release":
        sys.exit("build the native module in release mode first")
    missed = []
    for shape in SHAPES:
        seconds = native_seconds(shape, arguments.rounds)
        ratio = msgspec_seconds(shape, max(1, arguments.rounds // 3)) / seconds
        rate = shape.messages / seconds
        print(
            f"{shape.name:20} {1e9 / rate:7.0f} ns/msg {rate / 1e6:6.2f} M msg/s "
            f"{rate * shape.levels / 1e6:6.1f} M levels/s   {ratio:4.1f}x msgspec"
        )
        if rate < BUDGETS.get(shape.name, 0):
            missed.append(shape.name)
        if shape.levels >= 100 and rate * shape.levels < LEVELS_BUDGET:
            missed.append(f"levels of {shape.name}")
    if arguments.check and missed:
        sys.exit(f"below budget: {', '.join(missed)}")


if __name__ == "__main__":
    main()
