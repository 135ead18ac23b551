"""Rules that hold for any market and any orders on paper.

- The cut of the stream into batches changes nothing.
- Twice the latency never fills earlier; a larger queue in front never fills earlier.
- An order split into parts never fills more in total.
- What the risk-averse queue fills, the probabilistic one has filled by then, too.
- Nothing is filled beyond its size, its limit, or what was displayed and traded.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.paper_world import (
    INSTRUMENT,
    Message,
    World,
    batches,
    config,
    definition,
    depth,
    quote,
    trade,
)
from tickd.native import PaperExchange

STEP = 10
LOW, HIGH = 95, 105
SIDES = st.sampled_from("BA")
SIZES = st.integers(1, 20)
PRICES = st.integers(LOW, HIGH)


@st.composite
def markets(draw: st.DrawFn, *, books: bool = True) -> list[Message]:
    """Messages `STEP` apart whose quotes and trades belong to one another, more or less."""
    messages: list[Message] = []
    update = 1
    middle = draw(st.integers(98, 102))
    kinds = st.sampled_from(["quote", "quote", "trade", "trade", *(["depth"] if books else [])])
    for number, kind in enumerate(draw(st.lists(kinds, min_size=5, max_size=40))):
        at = (number + 1) * STEP
        middle = max(LOW + 1, min(HIGH - 1, middle + draw(st.integers(-1, 1))))
        if kind == "quote":
            bid = draw(st.none() | SIZES) if draw(st.integers(0, 9)) == 0 else draw(SIZES)
            ask = draw(SIZES)
            messages.append(
                quote(at, bid and (middle - 1, bid), (middle + draw(st.integers(0, 1)), ask))
            )
        elif kind == "trade":
            side = draw(st.sampled_from("BAAB" + "N"))
            messages.append(trade(at, middle + draw(st.integers(-2, 2)), draw(SIZES), side))
        else:
            rows = draw(
                st.lists(
                    st.tuples(SIDES, PRICES, st.integers(0, 20)),
                    max_size=6,
                    unique_by=lambda r: r[1],
                )
            )
            rows = [row for row in rows if (row[0] == "B") == (row[1] < middle)]
            is_whole = update == 1 or draw(st.integers(0, 5)) == 0
            rows = [row for row in rows if row[2] or not is_whole]
            messages.append(
                depth(
                    at,
                    update + 1,
                    rows,
                    previous=None if is_whole else update,
                    snapshot=is_whole,
                )
            )
            update += 1
    return messages


Order = tuple[int, str, int | None, int, str]
LIMITS = st.tuples(st.integers(0, 20), SIDES, PRICES, SIZES)
ANY_ORDERS = st.lists(
    st.tuples(
        st.integers(0, 40),
        SIDES,
        st.none() | PRICES,
        SIZES,
        st.sampled_from(["gtc", "gtc", "ioc", "fok", "post_only"]),
    ),
    max_size=8,
)


class Run:
    """A market with orders sent before its messages, by their numbers."""

    def __init__(
        self,
        messages: list[Message],
        orders: dict[int, list[tuple[int, str, int | None, int, str]]],
        *,
        cut: set[int] | None = None,
        later: dict[int, list[tuple[str, int]]] | None = None,
        **other: Any,
    ) -> None:
        self.exchange = PaperExchange(config(**other))
        self.exchange.define(INSTRUMENT, definition(), True)
        later = later or {}
        must = set(orders) | set(later)
        cuts = (set(range(len(messages))) if cut is None else cut) | must
        starts = sorted({0, *(each for each in cuts if 0 < each < len(messages))})
        self.heard: list[tuple[Any, ...]] = []
        for start, batch in zip(starts, batches(messages, cuts), strict=True):
            now = start * STEP + STEP // 2
            for number, side, price, size, kind in orders.get(start, []):
                self.exchange.submit(now, number, INSTRUMENT, side, price, size, kind, False)
            for what, number in later.get(start, []):
                if what == "cancel":
                    self.exchange.cancel(now, number)
                else:
                    self.exchange.replace(now, number, 100, 7)
            self.heard += self.exchange.take(batch) or []
        self.heard += self.exchange.advance(1 << 40) or []

    def filled(self, numbers: set[int]) -> list[tuple[int, int]]:
        """(when, filled in total by then) of orders together."""
        total, told = 0, []
        for _, _, report in self.exchange.executions(0):
            if report[1] in numbers:
                total += report[5] or 0
                told.append((report[9], total))
        return told


def total(told: list[tuple[int, int]]) -> int:
    return told[-1][1] if told else 0


def is_never_earlier(slow: list[tuple[int, int]], fast: list[tuple[int, int]]) -> bool:
    """Whether at every moment the fast one has as much as the slow one."""
    return all(
        max((done for when, done in fast if when <= at), default=0) >= done for at, done in slow
    )


@settings(max_examples=300)
@given(markets(), ANY_ORDERS, st.sets(st.integers(0, 40)), st.integers(0, 45), st.data())
def test_the_cut_into_batches_changes_nothing(
    messages: list[Message],
    orders: list[tuple[int, str, int | None, int, str]],
    cut: set[int],
    latency: int,
    data: st.DataObject,
) -> None:
    sent: dict[int, list[Any]] = {}
    later: dict[int, list[tuple[str, int]]] = {}
    for number, (at, *rest) in enumerate(orders, 1):
        sent.setdefault(at % len(messages), []).append((number, *rest))
        if data.draw(st.booleans()):
            behind = data.draw(st.integers(at % len(messages), len(messages) - 1))
            what = data.draw(st.sampled_from(["cancel", "replace"]))
            later.setdefault(behind, []).append((what, number))
    other = {"entry_ns": [latency], "response_ns": [7], "queue": "prob", "maker_rate": 100}
    single = Run(messages, sent, later=later, **other)
    some = Run(messages, sent, later=later, cut=cut, **other)
    whole = Run(messages, sent, later=later, cut=set(), **other)
    assert single.heard == some.heard == whole.heard
    assert single.exchange.orders() == whole.exchange.orders()


@settings(max_examples=300)
@given(markets(), LIMITS, st.integers(0, 60))
def test_twice_the_latency_never_fills_earlier(
    messages: list[Message], order: tuple[int, str, int, int], latency: int
) -> None:
    at, side, price, size = order
    sent = {at % len(messages): [(1, side, price, size, "gtc")]}
    fast = Run(messages, sent, entry_ns=[latency])
    slow = Run(messages, sent, entry_ns=[2 * latency])
    assert is_never_earlier(slow.filled({1}), fast.filled({1}))


# What happens at one level that stays the best: trades there, and other sizes of it.
AT_ONE_LEVEL = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.integers(1, 12)),
        st.tuples(st.just("shown"), st.integers(5, 60)),
    ),
    max_size=30,
)
QUEUES = st.sampled_from(["risk_averse", "prob"])


def at_one_level(
    steps: list[tuple[str, int]], first: int, then: int, size: int, **other: Any
) -> list[tuple[int, int]]:
    """What a bid gets that joins a level of `first`, which shows `then` before anything else."""
    world = World(**other)
    world.market(quote(1, (100, first) if first else (99, 5), (110, 5)))
    world.send(1, 1, "B", 100, size)
    world.pass_to(1)
    world.market(quote(2, (100, then) if then else (99, 5), (110, 5)))
    for number, (kind, much) in enumerate(steps):
        at = 10 + number
        world.market(
            trade(at, 100, much, "A") if kind == "trade" else quote(at, (100, much), (110, 5))
        )
    found, done = [], 0
    for when, _, filled in world.fills():
        done += filled
        found.append((when, done))
    return found


@settings(max_examples=300)
@given(AT_ONE_LEVEL, st.integers(0, 30), st.integers(0, 30), SIZES, QUEUES)
def test_a_larger_queue_in_front_never_fills_earlier(
    steps: list[tuple[str, int]], front: int, more: int, size: int, queue: str
) -> None:
    """The level has `more` in front of us in one world and behind us in the other.

    Of the probabilistic queue this holds for power 1, a share by size: higher powers give a small
    place so little of what is cancelled that a larger one may overtake it.
    """
    slow = at_one_level(steps, front + more, front + more, size, queue=queue, queue_power=1)
    fast = at_one_level(steps, front, front + more, size, queue=queue, queue_power=1)
    assert is_never_earlier(slow, fast)


@settings(max_examples=300)
@given(AT_ONE_LEVEL, st.integers(0, 40), SIZES, st.integers(1, 3))
def test_at_one_level_what_the_averse_queue_fills_the_other_has_filled(
    steps: list[tuple[str, int]], front: int, size: int, power: int
) -> None:
    averse = at_one_level(steps, front, front, size)
    likely = at_one_level(steps, front, front, size, queue="prob", queue_power=power)
    assert is_never_earlier(averse, likely)


def test_the_two_queues_do_differ() -> None:
    steps = [("shown", 60), ("shown", 30), ("trade", 12), ("trade", 12)]
    assert at_one_level(steps, 30, 30, 5) == []
    assert at_one_level(steps, 30, 30, 5, queue="prob") == [(13, 5)]


@settings(max_examples=200)
@given(
    markets(),
    LIMITS,
    st.integers(1, 19),
    st.sampled_from(["risk_averse", "prob"]),
    st.sampled_from(["gtc", "ioc"]),
)
def test_an_order_in_two_parts_never_fills_more(
    messages: list[Message],
    order: tuple[int, str, int, int],
    part: int,
    queue: str,
    kind: str,
) -> None:
    at, side, price, size = order
    size, at = size + part, at % len(messages)
    whole = Run(messages, {at: [(1, side, price, size, kind)]}, queue=queue)
    parts = [(1, side, price, part, kind), (2, side, price, size - part, kind)]
    split = Run(messages, {at: parts}, queue=queue)
    assert is_never_earlier(split.filled({1, 2}), whole.filled({1}))


@settings(max_examples=300)
@given(markets(), LIMITS, st.integers(1, 3))
def test_what_the_averse_queue_fills_the_other_has_filled(
    messages: list[Message], order: tuple[int, str, int, int], power: int
) -> None:
    at, side, price, size = order
    sent = {at % len(messages): [(1, side, price, size, "gtc")]}
    averse = Run(messages, sent, queue="risk_averse").filled({1})
    likely = Run(messages, sent, queue="prob", queue_power=power).filled({1})
    assert is_never_earlier(averse, likely)


@settings(max_examples=200)
@given(markets(), ANY_ORDERS)
def test_nothing_is_filled_beyond_size_limit_and_market(
    messages: list[Message], orders: list[tuple[int, str, int | None, int, str]]
) -> None:
    sent: dict[int, list[Any]] = {}
    wanted = {}
    for number, (at, *rest) in enumerate(orders, 1):
        sent.setdefault(at % len(messages), []).append((number, *rest))
        wanted[number] = rest
    run = Run(messages, sent, queue="prob")
    done = dict.fromkeys(wanted, 0)
    for _, side, report in run.exchange.executions(0):
        _, number, _, _, price, size, cum, *_ = report
        assert price is not None
        assert size is not None
        done[number] += size
        limit = wanted[number][1]
        assert size > 0
        assert cum == done[number] <= wanted[number][2]
        assert limit is None or (price <= limit if side == "B" else price >= limit)
    shown = sum(each["size"] for message in messages for each in message if each["size"] < 100)
    assert sum(done.values()) <= shown
    ends = {row[0]: (row[6], row[5], row[7]) for row in run.exchange.orders()}
    assert set(ends) == set(wanted)
    for cum, size, end in ends.values():
        assert (cum == size) == (end == "filled")
