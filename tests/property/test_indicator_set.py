"""A set of indicators against the single ones fed by hand, bit by bit, and its stream cut anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_runner.indicator_config import KINDS, IndicatorConfig
from strategy_runner.indicators import load
from strategy_runner.indicators.indicator_set import IndicatorSet
from tickd.events import EVENT, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF, Flag, Kind, as_array
from tickd.native import Decoder, EventBatch

# Every message of this venue's depth is the whole book.
VENUE, SYMBOLS, LEVELS = "shioaji", ("2330", "2317"), 5
SCALES = {"2330": (2, 3), "2317": (4, 0)}
CHANNELS = ("quote", "trade", "depth")
TABLE = [[-0.3, -0.1, 0.1, 0.3]] * 3
PARAMS: dict[str, dict[str, Any]] = {
    "book_slope": {"levels": 3},
    "bvc_share": {"sigma": 0.5},
    "depth_imbalance": {"levels": 4},
    "ewma_variance": {"half_life_ns": 1_000_000},
    "hawkes": {"mu": 1.0, "alpha": 0.5, "beta": 1e3},
    "hawkes_bivariate": {"mu": [1.0, 1.2], "alpha": [[0.5, 0.2], [0.1, 0.4]], "beta": 1e3},
    "integrated_ofi": {"weights": [0.5, 0.3, 0.2], "window": 4},
    "kyle_lambda": {"window": 5},
    "microprice": {"table": TABLE, "tick": 0.01},
    "mlofi": {"levels": 5, "window": 3},
    "ofi": {"window": 4},
    "realized_variance": {"window": 4},
    "vamp": {"levels": 2},
    "vpin": {"bucket_volume": 0.05, "buckets": 3},
    "vpin_bvc": {"bucket_volume": 0.05, "buckets": 3, "sigma": 0.5},
    "vpin_fixed": {"bucket_volume": 40, "buckets": 3},
    "weighted_depth_price": {"levels": 5},
}
TAKES = {
    **dict.fromkeys(("amihud", "cvd", "hawkes", "hawkes_bivariate", "kyle_lambda"), "trade"),
    **dict.fromkeys(("trade_flow_imbalance", "vpin", "vpin_bvc", "vpin_fixed"), "trade"),
    **dict.fromkeys(("mlofi", "integrated_ofi", "depth_imbalance", "vamp"), "depth"),
    **dict.fromkeys(("weighted_depth_price", "book_slope"), "depth"),
    **dict.fromkeys(("bipower_variation", "bvc_share", "ewma_variance"), "price"),
    **dict.fromkeys(("med_rv", "min_rv", "realized_variance", "roll_spread"), "price"),
}
CHANNELS_OF = {"quote": ("quote", "depth"), "trade": ("trade",), "depth": ("depth",)}


def channels_of(kind: str) -> tuple[str, ...]:
    return CHANNELS_OF.get(TAKES.get(kind, "quote"), CHANNELS)


CONFIGS = tuple(
    IndicatorConfig(
        name=kind,
        kind=kind,
        topics=tuple(f"{channel}.{VENUE}.*" for channel in channels_of(kind)),
        params=PARAMS.get(kind, {}),
        publish="every" if number % 2 else "changed",
    )
    for number, kind in enumerate(KINDS)
)


class Message(NamedTuple):
    channel: str
    symbol: str
    events: list[tuple[Any, ...]]

    @property
    def topic(self) -> str:
        return f"{self.channel}.{VENUE}.{self.symbol}"


def definition(symbol: str) -> dict[str, Any]:
    price_scale, size_scale = SCALES[symbol]
    return {
        "venue": VENUE,
        "symbol": symbol,
        "asset_class": "stock",
        "price_scale": price_scale,
        "size_scale": size_scale,
        "tick": 1,
        "lot": 1,
        "multiplier": "1",
    }


def instruments() -> dict[str, tuple[int, bytes]]:
    """Numbers and definitions as the decoder has them."""
    decoder = Decoder()
    for frame, symbol in enumerate(SYMBOLS, 1):
        body = json.dumps({"kind": "instrument", **definition(symbol)}).encode()
        decoder.decode(b"%d 1 1 0 C %d %s\n" % (frame, len(body), body))
    return {json.loads(text)["symbol"]: (number, text) for number, text in decoder.instruments()}


INSTRUMENTS = instruments()
LAST = int(Flag.LAST)


def messages(seed: int, count: int) -> list[Message]:
    """A market that walks; some messages are incomplete, indicative or without a venue's time."""
    random, found = Random(seed), []
    now, mid = 1_760_000_000_000_000_000, dict.fromkeys(SYMBOLS, 10_000)
    for frame in range(1, count + 1):
        symbol, channel = random.choice(SYMBOLS), random.choice(CHANNELS)
        now += random.choice((0, 1_000, 50_000, 3_000_000))
        mid[symbol] += random.choice((-1, 0, 0, 1))
        at = TS_UNDEF if random.random() < 0.05 else now
        number = INSTRUMENTS[symbol][0]

        def event(kind: Kind, index: int, price: int, size: int, side: str, flags: int) -> Any:
            seq = frame << 16 | index  # noqa: B023 - used in this turn only
            recv = now + 500  # noqa: B023
            stamps = (at, recv, seq, (1 << 64) - 1)  # noqa: B023
            return (*stamps, price, size, index, number, flags, kind, ord(side))  # noqa: B023

        size = lambda: random.choice((0, 1, 1, 7, 30))  # noqa: E731
        if channel == "trade":
            flags = LAST | (random.random() < 0.1) * int(random.choice((Flag.TRIAL, Flag.OFF_BOOK)))
            price = PRICE_UNDEF if random.random() < 0.03 else mid[symbol] + random.randint(-1, 1)
            events = [event(Kind.TRADE, 0, price, size(), random.choice("BAN"), flags)]
        elif channel == "quote":
            sides = [("B", mid[symbol] - random.randint(0, 2)), ("A", mid[symbol] + 1)]
            sides = random.choice((sides, sides, sides, sides[:1], sides[1:]))
            events = [
                event(
                    Kind.QUOTE,
                    index,
                    price,
                    SIZE_UNDEF if random.random() < 0.03 else size(),
                    side,
                    LAST * (index == len(sides) - 1),
                )
                for index, (side, price) in enumerate(sides)
            ]
        else:
            flags = int(Flag.SNAPSHOT)
            levels = [
                ("BA"[side], mid[symbol] + (place + 1) * (2 * side - 1), 1 + size())
                for side in range(2)
                for place in range(random.randint(0, LEVELS))
            ]
            head = event(Kind.DEPTH_HEAD, 0, PRICE_UNDEF, SIZE_UNDEF, "N", flags)
            events = [head] + [
                event(Kind.DEPTH, index, price, size, side, flags)
                for index, (side, price, size) in enumerate(levels, 1)
            ]
            last = events[-1]
            events[-1] = (*last[:8], last[8] | LAST, *last[9:])
        found.append(Message(channel, symbol, events))
    return found


class Names:
    """Numbers of topics, as a decoder gives them out."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def intern(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def name(self, number: int) -> str:
        return self.names[number]


def batch_of(part: list[Message], names: Names) -> EventBatch:
    """Grouped by topic in order of first appearance, as a decoder's."""
    groups: dict[str, list[Any]] = {}
    for message in part:
        groups.setdefault(message.topic, []).extend(message.events)
    rows, topics = [], []
    for topic, events in groups.items():
        topics.append((names.intern(topic), len(rows), len(rows) + len(events)))
        rows += events
    return EventBatch.from_events(np.array(rows, EVENT).tobytes(), tuple(topics))


def make(names: Names) -> IndicatorSet:
    made = IndicatorSet(CONFIGS, topic_name=names.name, intern_topic=names.intern)
    for number, text in INSTRUMENTS.values():
        made.define(number, text)
    return made


def cut(stream: list[Message], cuts: list[int]) -> Iterator[list[Message]]:
    bounds = sorted({0, len(stream), *(at % (len(stream) + 1) for at in cuts)})
    for start, stop in pairwise(bounds):
        yield stream[start:stop]


class Singles:
    """Each indicator fed one call at a time."""

    def __init__(self, backend: str) -> None:
        self.classes = load(backend)
        self.made: dict[tuple[str, int], Any] = {}
        self.touch: dict[str, list[float]] = {}
        self.rows: list[tuple[int, int, float]] = []

    def of(self, topic: str, place: int) -> Any:
        if (topic, place) not in self.made:
            config = CONFIGS[place]
            self.made[topic, place] = getattr(self.classes, KINDS[config.kind])(**config.params)
        return self.made[topic, place]

    def feed(self, message: Message) -> None:
        events = np.array(message.events, EVENT)
        price_scale, size_scale = (10**scale for scale in SCALES[message.symbol])
        last = events[-1]
        ts = int(last["ts_recv"] if last["ts_event"] == TS_UNDEF else last["ts_event"])
        touch = self.touch.setdefault(message.topic, [-np.inf, 0.0, np.inf, 0.0])
        flat: list[float] = []
        if message.channel == "trade":
            bad = last["flags"] & (Flag.TRIAL | Flag.OFF_BOOK) or last["price"] == PRICE_UNDEF
            if bad:
                return
        elif message.channel == "quote":
            for each in events:
                place, nowhere = (0, -np.inf) if each["side"] == ord("B") else (2, np.inf)
                size = int(each["size"])
                known = 0 < size < SIZE_UNDEF
                touch[place] = int(each["price"]) / price_scale if known else nowhere
                touch[place + 1] = size / size_scale if known else 0.0
        else:
            sides: list[list[tuple[float, float]]] = [[], []]
            for each in events[1:]:
                pair = (int(each["price"]) / price_scale, int(each["size"]) / size_scale)
                sides[int(each["side"] == ord("A"))].append(pair)
            sides = [sorted(sides[0], reverse=True), sorted(sides[1])]
            for place in range(LEVELS):
                for side, nowhere in zip(sides, (-np.inf, np.inf), strict=True):
                    flat += side[place] if place < len(side) else (nowhere, 0.0)
            touch[:] = flat[:4]
        for place, config in enumerate(CONFIGS):
            if message.channel in channels_of(config.kind):
                value = self.say(message, place, last, touch, flat, ts)
                self.rows.append((int(last["seq"]), place, value))

    def say(
        self,
        message: Message,
        place: int,
        last: Any,
        touch: list[float],
        flat: list[float],
        ts: int,
    ) -> float:
        kind, indicator = CONFIGS[place].kind, self.of(message.topic, place)
        price_scale, size_scale = (10**scale for scale in SCALES[message.symbol])
        price, lots = int(last["price"]) / price_scale, int(last["size"])
        side = {ord("B"): 1.0, ord("A"): -1.0}.get(int(last["side"]), 0.0)
        takes = TAKES.get(kind, "quote")
        if takes == "quote":
            return float(indicator.update(*touch, ts))
        if takes == "depth":
            row = np.array(flat[: 4 * CONFIGS[place].params.get("levels", 3)])
            return float(indicator.update(row, ts))
        if takes == "price":
            if message.channel != "trade":
                if not (touch[1] > 0 and touch[3] > 0):
                    return float("nan")
                price = (touch[0] + touch[2]) / 2
            return float(indicator.update(price, ts))
        if kind == "hawkes":
            return float(indicator.update(ts))
        if kind == "hawkes_bivariate":
            both = indicator.update(ts, side)
            return float("nan") if np.isnan(both[0]) else float(indicator.value)
        size = lots if kind == "vpin_fixed" else lots / size_scale
        return float(indicator.update(price, size, side, ts))


def told(rows: np.ndarray) -> list[tuple[int, int, bytes]]:
    """With the bits of the values: NaN equals NaN."""
    plain = np.where(np.isnan(rows["value"]), np.nan, rows["value"]).astype("<f8")
    return [
        (int(row["seq"]), int(row["indicator"]), plain[at].tobytes()) for at, row in enumerate(rows)
    ]


@pytest.mark.parametrize("backend", ["native", "numpy"])
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 120))
@settings(max_examples=30, deadline=None)
def test_the_set_equals_the_single_indicators(backend: str, seed: int, count: int) -> None:
    stream, names = messages(seed, count), Names()
    found = make(names).rows(batch_of(stream, names))
    singles = Singles(backend)
    for message in stream:
        singles.feed(message)
    # NaN has one face in Python; the bits of numbers are compared.
    want = [(seq, place, np.float64(value).tobytes()) for seq, place, value in singles.rows]
    nan = np.float64(np.nan).tobytes()
    want = [
        (seq, place, nan if np.isnan(np.frombuffer(bits)[0]) else bits) for seq, place, bits in want
    ]
    assert told(found) == want


@given(seed=st.integers(0, 1 << 32), cuts=st.lists(st.integers(0, 1 << 20), max_size=40))
@settings(max_examples=150, deadline=None)
def test_cuts_of_the_stream_change_nothing(seed: int, cuts: list[int]) -> None:
    stream, whole, names = messages(seed, 80), Names(), Names()
    rows, signals = make(whole).rows(batch_of(stream, whole)), []
    alone = make(whole).signals(batch_of(stream, whole))
    by_parts, signalling, parts = make(names), make(names), []
    for part in cut(stream, cuts):
        batch = batch_of(part, names)
        parts.append(by_parts.rows(batch))
        made = signalling.signals(batch)
        if made is not None:
            assert {names.name(topic) for topic, _, _ in made.topics} <= {
                f"signal.{VENUE}.{symbol}" for symbol in SYMBOLS
            }
            assert made.frame_last == batch.frame_last
            signals.append(as_array(made))
    assert np.concatenate(parts).tobytes() == rows.tobytes()
    both = [np.concatenate(signals or [np.empty(0, EVENT)])]
    both.append(np.empty(0, EVENT) if alone is None else as_array(alone))
    ordered = [each[np.lexsort((each["aux"], each["seq"]))].tobytes() for each in both]
    assert ordered[0] == ordered[1]


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=50, deadline=None)
def test_signals_are_the_rows_that_say_something_new(seed: int) -> None:
    stream, names = messages(seed, 100), Names()
    batch = batch_of(stream, names)
    rows, made = make(names).rows(batch), make(names).signals(batch)
    channel = {message.events[-1][2]: message.topic for message in stream}
    said: dict[tuple[str, int], bytes] = {}
    want = []
    for row in rows:
        place, bits = int(row["indicator"]), row["value"].tobytes()
        key = (channel[int(row["seq"])], place)
        if np.isnan(row["value"]):
            continue
        if CONFIGS[place].publish == "every" or said.get(key) != bits:
            said[key] = bits
            want.append((int(row["seq"]), CONFIGS[place].number, bits))
    events = np.empty(0, EVENT) if made is None else as_array(made)
    got = [(int(e["seq"]), int(e["aux"]), e["id"].tobytes()) for e in events]
    assert sorted(got) == sorted(want)
    assert np.all(events["kind"] == Kind.SIGNAL)
    assert np.all(events["flags"] & (Flag.SYNTHETIC | Flag.LAST) == Flag.SYNTHETIC | Flag.LAST)


def test_every_kind_says_numbers_on_this_market() -> None:
    """What the tests above compare is not NaN throughout."""
    stream, names = messages(7, 600), Names()
    rows = make(names).rows(batch_of(stream, names))
    numbers = rows[~np.isnan(rows["value"])]
    silent = {CONFIGS[place].kind for place in range(len(CONFIGS))} - {
        CONFIGS[int(place)].kind for place in set(numbers["indicator"])
    }
    assert silent == set()


def test_an_instrument_that_nobody_defined_feeds_nothing() -> None:
    stream, names = messages(7, 50), Names()
    made = IndicatorSet(CONFIGS, topic_name=names.name, intern_topic=names.intern)
    batch = batch_of(stream, names)
    assert len(made.rows(batch)) == 0
    assert made.undefined == len(batch)
