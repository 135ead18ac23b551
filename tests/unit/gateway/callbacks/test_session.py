"""A callback session and its plan: logins follow wishes, limits, pauses and the broker's list.

Method: a broker in memory behind the `SdkClient` port, which counts what each login has, in virtual
time: whoever waits for nothing is a deadlock, and said so at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.callbacks.session import CallbackSession
from gateway.callbacks.venue import Contract, Put, SdkClient, SessionEvent, Usage
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.errors import ConnectFailedError, LoginFullError, PlanRefusedError, QueryFailedError
from gateway.subscriptions.patterns import parse
from gateway.subscriptions.shard import Shard
from gateway.subscriptions.wishes import Order, Wanted
from gateway.venue import Figures, Rate, Stream
from gateway.venues.registry import find_callback
from tests.harness.noted_tap import NotedTap
from tickd.secrets import Secret
from tickd.testing.loop import run_virtual

KEY = Secret("0123456789ab")
PATIENCE_S = 10


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop whose time jumps."""

    @wraps(test)
    def run(**fixtures: object) -> None:
        run_virtual(test(**fixtures))

    return run


class LoopClock:
    """The virtual loop's time as a `Clock`; the wall begins on a Tuesday at 09:00 in Taiwan."""

    def mono_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def wall_ns(self) -> int:
        return 1_783_990_800_000_000_000 + self.mono_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Broker:
    """What all logins of the person share, and the calls in their order."""

    listed: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()
    refusals: list[ConnectFailedError] = field(default_factory=list)
    logins: list[BrokerLogin] = field(default_factory=list)
    calls: list[tuple[str, int, str]] = field(default_factory=list)  # (verb, login, stream)
    open_max: int = 0
    usage: Usage = field(default_factory=lambda: Usage(1, 0, 500 << 20, 500 << 20))
    fails: bool = False  # queries get no answer
    room: int = 250  # subscriptions of a login

    @property
    def open(self) -> list[BrokerLogin]:
        return [each for each in self.logins if each.is_open]

    @property
    def carried(self) -> list[str]:
        return sorted(name for each in self.open for name in each.carried)


class BrokerLogin:
    """The `SdkClient` of one login."""

    def __init__(self, broker: Broker, put: Put) -> None:
        self._broker = broker
        self.put = put
        self._number = len(broker.logins)
        self.is_open = False
        self.carried: set[str] = set()
        self.lost: set[str] = set()  # at any time, by the broker itself
        self.most = 0
        broker.logins.append(self)

    async def open(self) -> None:
        if self._broker.refusals:
            raise self._broker.refusals.pop(0)
        self.is_open = True
        self._broker.open_max = max(self._broker.open_max, len(self._broker.open))

    async def contracts(self, symbols: Sequence[str]) -> tuple[Contract, ...]:
        self._answer()
        return tuple(
            Contract(
                symbol,
                symbol.removesuffix("-ODD"),
                "index" if symbol == "TAIEX" else "stock",
                "TSE",
                (),
                None,
            )
            for symbol in symbols
            if symbol not in self._broker.unknown
        )

    async def listing(self) -> tuple[str, ...]:
        self._answer()
        return self._broker.listed

    async def subscribe(self, stream: Stream, contract: Contract) -> None:
        assert contract.symbol == stream.symbol
        assert stream.name not in self.carried or self.lost, "what it has is asked for again"
        if len(self.carried) >= self._broker.room:
            raise LoginFullError("full", venue="shioaji")
        self._broker.calls.append(("subscribe", self._number, stream.name))
        self.carried.add(stream.name)
        self.most = max(self.most, len(self.carried))

    async def unsubscribe(self, stream: Stream, contract: Contract) -> None:
        assert contract.symbol == stream.symbol
        self._broker.calls.append(("unsubscribe", self._number, stream.name))
        if stream.name in self.carried or stream.name not in self.lost:
            self.carried.remove(stream.name)

    async def scan(self, rank: str) -> tuple[Figures, ...]:
        self._answer()
        return tuple(Figures(symbol, turnover_f=1.0) for symbol in self._broker.listed if rank)

    async def usage(self) -> Usage:
        self._answer()
        return self._broker.usage

    async def close(self) -> None:
        await asyncio.sleep(0.02)  # the broker counts it until it knows
        self.is_open = False

    def say(self, code: int) -> None:
        """A session event: 1 down, 13 up again, 17 up again without its subscriptions."""
        if code == 17:
            self.lost |= self.carried
            self.carried.clear()
        self.put(SessionEvent(200, code, "", ""))

    def _answer(self) -> None:
        if self._broker.fails:
            raise QueryFailedError("no answer", venue="shioaji")


@dataclass
class World:
    broker: Broker
    session: CallbackSession
    tap: NotedTap

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - of several tasks
                    await asyncio.sleep(0.002)
        except TimeoutError as error:
            raise TimeoutError(f"{what}: {self.broker} {self.session.status()}") from error

    async def carries(self, *names: str) -> None:
        await self.until(lambda: self.broker.carried == sorted(names), f"carries {names}")


def ticks(*symbols: str) -> list[str]:
    return [f"TIC/v1/STK/*/TSE/{symbol}" for symbol in symbols]


def config(*symbols: str, sdk: dict[str, Any] | None = None, **fields: Any) -> VenueConfig:
    defaults: dict[str, Any] = {
        "channels": ("trade",),
        "watchdog_interval_seconds": 0.01,
        "backoff_first_seconds": 0.01,
        "backoff_cap_seconds": 0.02,
    }
    return VenueConfig(
        name="shioaji",
        symbols=symbols,
        sdk=SdkConfig(**{"api_key": KEY, "secret_key": KEY, **(sdk or {})}),
        **{**defaults, **fields},
    )


@asynccontextmanager
async def world(wanted: Wanted, **broker: Any) -> AsyncIterator[World]:
    made = Broker(**broker)
    found = find_callback("shioaji")

    def client(_: SdkConfig, put: Put) -> SdkClient:
        return BrokerLogin(made, put)

    venue = found._replace(
        client=client,
        limits=replace(found.limits, client_messages=Rate(100_000, 1.0)),
        rests=replace(found.rests, seconds_min=0.001),
    )
    tap = NotedTap()
    session = CallbackSession(
        venue, wanted, tap=tap, clock=LoopClock(), activity=dict, jitter=lambda: 0.5
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run(), name="session")
        yield World(made, session, tap)
        running.cancel()


def group(name: str, *patterns: str, **fields: Any) -> SubscriptionConfig:
    return SubscriptionConfig(name=name, patterns=patterns, **fields)


@virtual
async def test_streams_are_shared_over_logins_within_their_limits() -> None:
    symbols = [str(number) for number in range(1000, 1010)]
    async with world(Wanted(config(*symbols, streams_per_connection=3))) as made:
        await made.carries(*ticks(*symbols))
        assert sorted(len(each.carried) for each in made.broker.open) == [2, 2, 3, 3]
        assert [line.number for line in made.session.status().lines] == [1, 2, 3, 4]
    assert made.broker.open == []
    assert made.broker.open_max == 4, "the fifth connection of a person stays free"


@virtual
async def test_a_change_touches_only_what_changes_and_is_on_record() -> None:
    before = Wanted(config("1101", "2330", "2317", streams_per_connection=2))
    async with world(before) as made:
        await made.carries(*ticks("1101", "2330", "2317"))
        made.broker.calls.clear()
        made.session.want(
            before._replace(config=config("2330", "2317", "2603", streams_per_connection=2)),
            "reload",
        )
        await made.carries(*ticks("2330", "2317", "2603"))
        assert [(verb, name) for verb, _, name in made.broker.calls] in (
            [("unsubscribe", *ticks("1101")), ("subscribe", *ticks("2603"))],
            [("subscribe", *ticks("2603")), ("unsubscribe", *ticks("1101"))],
        )
        changes = made.tap.of("plan")
        assert (changes[-1]["added"], changes[-1]["removed"]) == (["tick:2603"], ["tick:1101"])
        assert made.tap.of("shed")[-1]["topics"] == [
            "trade.shioaji.1101",
            "trade.shioaji.1101-TRIAL",
        ]
        assert made.tap.of("shed")[-1]["cause"] == "reload"


@virtual
async def test_orders_with_patterns_select_from_the_brokers_list() -> None:
    wanted = Wanted(config(), (group("x", "shioaji:23*@trade"),))
    async with world(wanted, listed=("2330", "2317", "1101")) as made:
        await made.carries(*ticks("2330", "2317"))
        more = wanted._replace(orders=(Order(True, parse("shioaji:11*@trade"), 5),))
        assert made.session.want(more, "subscribe").added == ("tick:1101",)
        await made.carries(*ticks("2330", "2317", "1101"))
        less = more._replace(orders=(*more.orders, Order(False, parse("shioaji:23*@*"))))
        made.session.want(less, "unsubscribe")
        await made.carries(*ticks("1101"))


@virtual
async def test_patterns_wait_for_a_list_that_is_late_and_names_do_not() -> None:
    wanted = Wanted(config("1101", instruments_refresh_seconds=0.01), (group("x", "shioaji:2*@*"),))
    async with world(wanted, listed=("2330",), fails=True) as made:
        await made.until(lambda: made.session.counters.instrument_failures, "a failure")
        assert made.session.status().started
        made.broker.fails = False
        await made.carries(*ticks("1101", "2330"))


@virtual
async def test_a_symbol_that_the_broker_does_not_know_is_named_and_takes_no_place() -> None:
    async with world(Wanted(config("2330", "NOPE")), unknown=frozenset({"NOPE"})) as made:
        await made.until(lambda: made.session.status().symbols_missing, "the missing one")
        assert made.session.status().symbols_missing == ("NOPE",)
        await made.carries(*ticks("2330"))
        assert made.session.status().streams_count == 1


@virtual
async def test_a_symbol_that_is_something_else_is_told_once_and_holds_nobody_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with world(Wanted(config("TAIEX", "2330"))) as made:
        await made.carries(*ticks("2330"))
        await asyncio.sleep(5.0)
    assert capsys.readouterr().out.count("stream_impossible") == 1


@virtual
async def test_low_priorities_pause_and_come_back_with_their_cause() -> None:
    wanted = Wanted(config("2330"), (group("low", "shioaji:1101@trade", priority=10),))
    async with world(wanted) as made:
        await made.carries(*ticks("2330", "1101"))
        made.session.pause_below(100, "lag")
        await made.carries(*ticks("2330"))
        assert made.session.status().streams_paused == 1
        made.session.pause_below(None, "lag")
        await made.carries(*ticks("2330", "1101"))
        assert [each["cause"] for each in made.tap.of("shed")] == ["lag"]
        assert [each["cause"] for each in made.tap.of("restore")] == ["lag"]


@virtual
async def test_a_hard_stop_ends_everything_and_the_logins_stay() -> None:
    async with world(Wanted(config("2330"))) as made:
        await made.carries(*ticks("2330"))
        made.session.pause_below(None, "usage", stopped=True)
        await made.carries()
        assert len(made.broker.open) == 1
        made.session.pause_below(None, "usage")
        await made.carries(*ticks("2330"))


@virtual
async def test_books_go_only_when_quotes_go_too() -> None:
    book = "QUO/v1/STK/*/TSE/2330"
    async with world(Wanted(config("2330", channels=("trade", "quote", "depth")))) as made:
        await made.carries(*ticks("2330"), book)
        made.session.shed(["depth"], "disk")
        assert made.session.wanted(made.session.carried.places[0].streams) != ()
        made.session.shed(["depth", "quote"], "disk")
        await made.carries(*ticks("2330"))
        made.session.restore()
        await made.carries(*ticks("2330"), book)


@virtual
async def test_the_long_tail_takes_turns() -> None:
    tail = [str(number) for number in range(1000, 1006)]
    turns = group(
        "tail",
        *(f"shioaji:{symbol}@trade" for symbol in tail),
        rotation_seconds=1.0,
        rotation_symbols=2,
        priority=10,
    )
    async with world(Wanted(config("2330"), (turns,))) as made:
        await made.until(lambda: len(made.broker.carried) == 3, "the first turn")
        first = set(made.broker.carried)
        await made.until(lambda: len(set(made.broker.carried) & first) == 1, "the second turn")
        assert max(each.most for each in made.broker.logins) <= 5


@virtual
async def test_a_shard_carries_its_symbols() -> None:
    symbols = tuple(str(number) for number in range(1000, 1012))
    carried: list[str] = []
    for part in range(2):
        async with world(Wanted(config(*symbols), shard=Shard(part, 2))) as made:
            own = [symbol for symbol in symbols if Shard(part, 2).holds("shioaji", symbol)]
            await made.carries(*ticks(*own))
            assert 0 < len(own) < len(symbols)
            carried += made.broker.carried
    assert sorted(carried) == sorted(ticks(*symbols))


@virtual
async def test_a_stream_that_moves_is_on_the_new_login_before_the_old_one_lets_go() -> None:
    wide = config("1", "2", "3", "4", streams_per_connection=2)
    async with world(Wanted(wide)) as made:
        await made.carries(*ticks("1", "2", "3", "4"))
        # One stays on each login; then there may be one login only.
        made.session.want(Wanted(config("1", "3", streams_per_connection=2)), "reload")
        await made.carries(*ticks("1", "3"))
        assert len(made.broker.open) == 2
        made.broker.calls.clear()
        narrow = config("1", "3", streams_per_connection=2, connections_max=2)
        made.session.want(Wanted(narrow), "reload")
        await made.until(lambda: len(made.broker.open) == 1, "one login")
        assert [verb for verb, _, _ in made.broker.calls] == ["subscribe", "unsubscribe"]
        assert len({name for _, _, name in made.broker.calls}) == 1
        assert made.broker.carried == ticks("1", "3")


@virtual
async def test_new_logins_wait_until_the_broker_has_forgotten_the_old_ones() -> None:
    async with world(Wanted(config("1", "2", "3", "4", streams_per_connection=1))) as made:
        await made.carries(*ticks("1", "2", "3", "4"))
        made.session.want(Wanted(config(streams_per_connection=1)), "reload")
        made.session.want(Wanted(config("5", "6", "7", "8", streams_per_connection=1)), "reload")
        await made.carries(*ticks("5", "6", "7", "8"))
        assert made.broker.open_max == 5


@virtual
async def test_what_is_held_for_another_login_takes_a_place_until_that_one_has_it() -> None:
    refusal = ConnectFailedError("suspended", venue="shioaji", retry_after_seconds=5.0)
    async with world(Wanted(config("1", "2", "3", streams_per_connection=3))) as made:
        await made.carries(*ticks("1", "2", "3"))
        made.broker.refusals.append(refusal)
        made.session.want(Wanted(config("1", "2", "3", streams_per_connection=2)), "reload")
        made.session.want(Wanted(config("1", "3", "4", streams_per_connection=2)), "reload")
        await asyncio.sleep(1.0)
        assert made.broker.carried == ticks("1", "3"), "the fourth waits for a place"
        await made.carries(*ticks("1", "3", "4"))
        assert [sorted(each.carried) for each in made.broker.open] == [ticks("1", "4"), ticks("3")]


@virtual
async def test_more_than_the_limits_allow_is_refused_and_changes_nothing() -> None:
    async with world(Wanted(config("1", streams_per_connection=1))) as made:
        await made.carries(*ticks("1"))
        many = config(*map(str, range(9)), streams_per_connection=1)
        with pytest.raises(PlanRefusedError, match="4 are possible"):
            made.session.want(Wanted(many), "reload")
        await made.carries(*ticks("1"))


@virtual
async def test_a_broker_that_allows_less_than_it_says_gets_more_logins() -> None:
    symbols = [str(number) for number in range(1000, 1010)]
    async with world(Wanted(config(*symbols)), room=4) as made:
        await made.carries(*ticks(*symbols))
        assert sorted(len(each.carried) for each in made.broker.open) == [3, 3, 4]
        assert made.tap.of("plan")[-1]["cause"] == "full"


@virtual
async def test_a_suspension_keeps_all_logins_away() -> None:
    refusal = ConnectFailedError("suspended", venue="shioaji", retry_after_seconds=0.2)
    symbols = ("1", "2", "3")
    wanted = Wanted(config(*symbols, streams_per_connection=1))
    began = LoopClock().mono_ns()
    async with world(wanted, refusals=[refusal]) as made:
        await made.carries(*ticks(*symbols))
    assert LoopClock().mono_ns() - began >= 200_000_000
    assert len(made.broker.logins) == 4


@virtual
async def test_members_of_a_universe_are_carried_and_swapped_without_touching_those_who_stay() -> (
    None
):
    groups = (group("best", "shioaji:{best}@trade"),)
    wanted = Wanted(config(), groups, universes={"best": ("2330", "2317")})
    async with world(wanted, listed=("2330", "2603")) as made:
        await made.carries(*ticks("2330", "2317"))
        assert [each.symbol for each in await made.session.figures("turnover")] == ["2330", "2603"]
        made.broker.calls.clear()
        made.session.want(wanted._replace(universes={"best": ("2330", "2603")}), "universe best")
        await made.carries(*ticks("2330", "2603"))
        assert sorted(made.broker.calls) == [
            ("subscribe", 0, *ticks("2603")),
            ("unsubscribe", 0, *ticks("2317")),
        ]
        assert made.tap.of("plan")[-1]["cause"] == "universe best"


POOL = [str(1101 + number) for number in range(14)]
TAIL = [str(2001 + number) for number in range(7)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.sets(st.sampled_from(POOL), max_size=10)),
        st.tuples(st.just("universe"), st.sets(st.sampled_from(POOL), max_size=4)),
        st.tuples(st.just("width"), st.integers(1, 4)),
        st.tuples(st.just("pause"), st.sampled_from([None, 50, 200])),
        st.tuples(st.just("connections"), st.sampled_from([None, 3, 5])),
        st.tuples(st.just("refuse"), st.just(0)),  # the next login
        st.tuples(st.just("say"), st.sampled_from([(1,), (1, 13), (17,)])),  # to every login
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 3.0])),
    ),
    max_size=12,
)


def tail(width: int) -> SubscriptionConfig:
    return group(
        "tail", "shioaji:20*@trade", priority=10, rotation_seconds=2.0, rotation_symbols=width
    )


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_no_login_has_more_than_its_limit_and_all_that_is_wanted_arrives(
    steps: list[tuple[str, Any]],
) -> None:
    """Reloads, swaps, pauses, turns, fewer connections, refused and lost logins, in any order."""

    async def live() -> None:
        fields: dict[str, Any] = {
            "streams_per_connection": 2,
            "sdk": {"down_seconds_max": 0.2, "flap_pause_seconds": 1.0},
        }
        best = group("best", "shioaji:{best}@trade", priority=60)
        wanted = Wanted(config("2330", **fields), (best, tail(2)))
        async with world(wanted, listed=tuple(TAIL)) as made:
            for what, value in steps:
                wanted = made.session.carried.wanted
                if what == "want":
                    symbols = tuple(sorted(value))
                    wanted = wanted._replace(config=config(*symbols, **fields))
                elif what == "universe":
                    wanted = wanted._replace(universes={"best": tuple(sorted(value))})
                elif what == "width":
                    wanted = wanted._replace(groups=(best, tail(value)))
                elif what == "connections":
                    fields["connections_max"] = value
                    wanted = wanted._replace(config=config(*wanted.config.symbols, **fields))
                elif what == "pause":
                    made.session.pause_below(value, "lag")
                elif what == "refuse":
                    refusal = ConnectFailedError("x", venue="shioaji", retry_after_seconds=1.0)
                    made.broker.refusals.append(refusal)
                elif what == "say":
                    for login in made.broker.open:
                        for code in value:
                            login.say(code)
                else:
                    await asyncio.sleep(value)
                if wanted is not made.session.carried.wanted:
                    with suppress(PlanRefusedError):
                        made.session.want(wanted, "reload")
            await made.until(
                lambda: made.broker.carried == expected(made.session), "all that is wanted"
            )
            assert all(each.most <= 2 for each in made.broker.logins), "also while they move"
            assert made.broker.open_max <= 5

    run_virtual(live())


def expected(session: CallbackSession) -> list[str]:
    """What the broker has to carry: from the wishes, less what a late list left no room for."""
    wanted, floor = session.carried.wanted, session.carried.floor or 0
    priorities = dict.fromkeys(session.carried.turning.get("tail", ()), 10)
    priorities |= dict.fromkeys(wanted.universes.get("best", ()), 60)
    priorities |= dict.fromkeys(wanted.config.symbols, 100)
    left_out = session.carried.left_out
    assert all(priorities[name.removeprefix("tick:")] == 10 for name in left_out), "the lowest"
    names = (name for name, priority in priorities.items() if priority >= floor)
    return sorted(ticks(*(name for name in names if f"tick:{name}" not in left_out)))
