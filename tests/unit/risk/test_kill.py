"""The kill switch over a real halt word and a real latch file; venues are functions of the test."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from risk.cancelling import SCOPES_MAX
from risk.config import RiskConfig
from risk.errors import ArmError, BrokerError
from risk.kill import TEXT_MAX, KillSwitch, Offer
from risk.kill_hooks import Hooks
from risk.latch import LATCH_BYTES_MAX, Latch, at_start, encode, read
from tickd.native import HaltWord, NativeError
from tickd.testing.clock import ManualClock


class World:
    """One switch and what it asks and tells."""

    def __init__(self, directory: Path, *, first: Latch | None = None, **config: Any) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.records: list[dict[str, object]] = []
        self.blocked: list[str] = []
        self.scopes: dict[tuple[str, ...], bool] = {}
        # What each round of cancelling finds left, or raises; then nothing.
        self.rounds: list[int | Exception] = []
        self.cancelled: list[str] = []
        # A round of cancelling ends when it is set.
        self.hold = asyncio.Event()
        self.hold.set()
        self.word = HaltWord()
        if first is None:
            first, _ = at_start(directory, config="c", wall_ns=1, mono_ns=1)
        self.word.start(directory, encode(first), panic_after_ms=60_000)
        hooks = Hooks(
            record=self.records.append,
            cancel_all=self.cancel_all,
            cancel_scope=self.cancel_scope,
            blockers=lambda _scope, _key: list(self.blocked),
            open_orders=lambda: 5,
            set_scope=self.set_scope,
        )
        self.switch = KillSwitch(
            RiskConfig(**config), word=self.word, first=first, clock=self.clock, hooks=hooks
        )

    async def cancel_all(self) -> int:
        return await self.cancel("all")

    async def cancel_scope(self, scope: str, key: str, side: str) -> int:
        return await self.cancel(f"{scope} {key} {side}".rstrip())

    def set_scope(self, scope: str, key: str, halted: bool, side: str) -> None:
        name = (scope, key, side) if side else (scope, key)
        self.scopes[name] = halted

    async def cancel(self, what: str) -> int:
        self.cancelled.append(what)
        await self.hold.wait()
        outcome = self.rounds.pop(0) if self.rounds else 0
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def rung(self) -> None:
        assert select.select([self.word.fileno()], [], [], 20)[0]
        self.switch.on_bell()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - native threads set no asyncio.Event
                await asyncio.sleep(0)

    async def arm(self) -> None:
        await self.switch.confirm(self.switch.arm("ada", "checked").token)

    def actions(self) -> list[object]:
        return [record["action"] for record in self.records]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(world.switch.run(), name="kill switch")
        yield
        life.cancel()


def test_it_begins_halted_and_says_why(world: World) -> None:
    assert world.word.is_halted
    assert world.switch.draw()["state"] == "halted"
    assert "no latch file" in world.switch.draw()["reason"]


async def test_two_steps_arm_with_a_durable_record_and_an_audit(world: World) -> None:
    offer = world.switch.arm("ada", "checked with the venue")
    assert world.word.is_halted
    await world.switch.confirm(offer.token)
    assert not world.word.is_halted
    latch = read(world.directory)
    assert (latch.state, latch.source.name, latch.reason) == (
        "armed",
        "ada",
        "checked with the venue",
    )
    assert world.records == [
        {
            "kind": "audit",
            "action": "arm",
            "scope": "global",
            "key": "",
            "operator": "ada",
            "reason": "checked with the venue",
            "source": "",
            "epoch": 1,
        }
    ]
    with pytest.raises(ArmError, match="not halted"):
        world.switch.arm("ada", "again")


async def test_a_token_arms_once_and_a_wrong_one_voids_it(world: World) -> None:
    offer = world.switch.arm("ada", "checked")
    with pytest.raises(ArmError, match="no such token"):
        await world.switch.confirm("00000000x")
    with pytest.raises(ArmError, match="no such token"):
        await world.switch.confirm(offer.token)
    await world.arm()
    world.switch.trip("again")
    with pytest.raises(ArmError, match="no such token"):
        await world.switch.confirm(offer.token)
    assert world.word.is_halted


async def test_a_new_offer_replaces_the_one_before(world: World) -> None:
    first, second = world.switch.arm("ada", "checked"), world.switch.arm("bob", "checked")
    assert first.token != second.token
    with pytest.raises(ArmError):
        await world.switch.confirm(first.token)
    assert world.word.is_halted


async def test_a_token_expires(tmp_path: Path) -> None:
    world = World(tmp_path, arm_token_s=10.0)
    offer = world.switch.arm("ada", "checked")
    world.clock.move(10_000_000_000)
    with pytest.raises(ArmError, match="expired"):
        await world.switch.confirm(offer.token)
    assert world.word.is_halted


async def test_the_wall_clock_does_not_prolong_a_token(tmp_path: Path) -> None:
    world = World(tmp_path, arm_token_s=10.0)
    offer = world.switch.arm("ada", "checked")
    world.clock.step_wall(-3_600_000_000_000)
    world.clock.move(10_000_000_000)
    with pytest.raises(ArmError, match="expired"):
        await world.switch.confirm(offer.token)


async def test_a_trip_between_the_steps_voids_the_token(world: World) -> None:
    offer = world.switch.arm("ada", "checked")
    world.word.trip("by somebody", "test")  # as the signal handler does: nobody told the switch
    with pytest.raises(ArmError, match="tripped meanwhile"):
        await world.switch.confirm(offer.token)
    assert world.word.is_halted


@pytest.mark.parametrize(("operator", "reason"), [("", "checked"), ("ada", " ")])
def test_nobody_arms_without_a_name_and_a_reason(world: World, operator: str, reason: str) -> None:
    with pytest.raises(ArmError, match="who arms"):
        world.switch.arm(operator, reason)


async def test_what_blocks_is_asked_at_both_steps_and_listed(world: World) -> None:
    world.blocked = ["2 orders are unknown", "okx is not reconciled"]
    with pytest.raises(ArmError, match="2 orders are unknown; okx is not reconciled"):
        world.switch.arm("ada", "checked")
    world.blocked = []
    offer = world.switch.arm("ada", "checked")
    world.blocked = ["data is stale"]
    with pytest.raises(ArmError, match="data is stale"):
        await world.switch.confirm(offer.token)
    assert world.word.is_halted


async def test_a_disk_that_refuses_the_record_keeps_it_halted(world: World) -> None:
    offer = world.switch.arm("ada", "checked")
    await world.until(lambda: world.word.latch_status()["written"])
    world.directory.joinpath("latch.json").unlink()
    world.directory.rmdir()
    with pytest.raises(ArmError, match="could not be written"):
        await world.switch.confirm(offer.token)
    assert world.word.is_halted
    with pytest.raises(ArmError, match="latch file cannot be written"):
        world.switch.arm("ada", "checked")
    world.directory.mkdir()


async def test_a_trip_halts_memory_then_disk_then_cancels(world: World) -> None:
    await world.arm()
    async with running(world):
        world.switch.trip("prices look wrong", source="ada")
        assert world.word.is_halted  # before anything was awaited
        assert world.cancelled == []
        await world.until(lambda: world.cancelled)
        latch = read(world.directory)
        assert (latch.state, latch.reason) == ("halted", "prices look wrong")
        await world.until(lambda: read(world.directory).open_orders == 5)
        await world.until(lambda: not world.switch.draw()["cancelling"])
    assert world.actions() == ["arm", "kill"]
    assert world.records[-1]["source"] == "ada"
    await world.arm()


async def test_cancelling_goes_on_until_nothing_is_left(world: World) -> None:
    world.rounds = [3, BrokerError("not reachable"), 1]
    async with running(world):
        world.switch.trip("a test")
        for rounds in (1, 2, 3):
            await world.until(lambda: world.clock.sleepers_count == 1)
            assert len(world.cancelled) == rounds
            with pytest.raises(ArmError, match="being cancelled"):
                world.switch.arm("ada", "checked")
            await world.clock.advance(1.0)
        await world.until(lambda: not world.switch.draw()["cancelling"])
    assert world.cancelled == ["all"] * 4
    assert world.switch.draw()["left"] == 0


@pytest.mark.parametrize(("outcome", "words"), [(2, "2 open orders"), (BrokerError("x"), "could")])
async def test_orders_that_stay_are_a_reason_not_to_arm(
    world: World, outcome: int | Exception, words: str
) -> None:
    world.rounds = [outcome] * 10
    async with running(world):
        world.switch.trip("a test")
        for _ in range(9):
            await world.until(lambda: world.clock.sleepers_count == 1)
            await world.clock.advance(1.0)
        await world.until(lambda: not world.switch.draw()["cancelling"])
        with pytest.raises(ArmError, match=words):
            world.switch.arm("ada", "checked")
        # It goes on, slowly, and nobody has to ask for it.
        await world.clock.advance(9.5)
        assert len(world.cancelled) == 10
        await world.clock.advance(1.0)
        await world.until(lambda: not world.switch.blockers())
        assert world.switch.draw()["left"] == 0
        await world.arm()


async def test_whatever_a_round_raises_it_goes_on(world: World) -> None:
    world.rounds = [KeyError("an account"), RuntimeError("a bug")]
    async with running(world):
        world.switch.trip("a test")
        for _ in range(2):
            await world.until(lambda: world.clock.sleepers_count == 1)
            await world.clock.advance(1.0)
        await world.until(lambda: not world.switch.draw()["cancelling"])
    assert world.cancelled == ["all"] * 3


async def test_a_slow_scope_holds_up_no_other(world: World) -> None:
    await world.arm()
    async with running(world):
        world.hold.clear()
        world.switch.trip("a test", scope="venue", key="okx")
        world.switch.trip("a test", scope="venue", key="binance-usdm")
        await world.until(lambda: world.cancelled == ["venue okx", "venue binance-usdm"])
        world.hold.set()
        await world.until(lambda: not world.switch.draw()["cancelling"])


async def test_a_scope_with_orders_left_blocks_itself_alone(world: World) -> None:
    world.rounds = [1] * 10
    async with running(world):
        world.switch.trip("a test", scope="account", key="dead")
        await world.until(lambda: world.clock.sleepers_count == 1)
        await world.arm()
        with pytest.raises(ArmError, match="being cancelled"):
            world.switch.arm("ada", "checked", scope="account", key="dead")


async def test_a_kill_while_a_scope_is_cancelled_has_a_round_of_its_own(world: World) -> None:
    await world.arm()
    async with running(world):
        world.hold.clear()
        world.switch.trip("a test", scope="venue", key="okx")
        await world.until(lambda: world.cancelled == ["venue okx"])
        world.word.trip("everything", "test")
        await world.until(lambda: world.switch.trips_total == 1)
        world.hold.set()
        await world.until(lambda: "all" in world.cancelled)


async def test_a_scope_is_halted_on_record_and_lifted_in_two_steps(world: World) -> None:
    await world.arm()
    async with running(world):
        world.switch.trip("unknown for long", scope="instrument", key="7", source="router")
        assert world.scopes == {("instrument", "7"): True}
        assert not world.word.is_halted
        await world.until(lambda: world.cancelled == ["instrument 7"])
        await world.until(lambda: read(world.directory).halts)
        assert read(world.directory).is_armed
        await world.until(lambda: not world.switch.draw()["cancelling"])
        offer = world.switch.arm("ada", "it was filled", scope="instrument", key="7")
        await world.switch.confirm(offer.token)
        assert world.scopes == {("instrument", "7"): False}
        await world.until(lambda: not read(world.directory).halts)
    assert world.actions() == ["arm", "halt", "lift"]
    with pytest.raises(ArmError, match="instrument 7 is not halted"):
        world.switch.arm("ada", "again", scope="instrument", key="7")


async def test_halted_scopes_outlive_a_kill_and_a_restart(world: World) -> None:
    await world.arm()
    world.switch.trip("a test", scope="venue", key="okx")
    world.word.trip("everything", "test")  # natively: the record must know the scope
    world.rung()
    world.word.stop()
    assert [each.key for each in read(world.directory).halts] == ["okx"]
    first, _ = at_start(world.directory, config="c", wall_ns=1, mono_ns=1)
    again = World(world.directory, first=first)
    assert again.scopes == {("venue", "okx"): True}
    assert again.switch.draw()["reason"] == "everything"


def test_the_longest_reasons_of_all_scopes_fit_into_the_latch(world: World) -> None:
    """What a person said at length must not make the file larger than what is read of it."""
    words = "\x01" * 5_000  # six bytes each in JSON
    world.switch.trip(words, scope="strategy", key="s", source=words)
    world.word.stop()
    (halted,) = read(world.directory).halts
    assert (len(halted.reason), len(halted.source)) == (TEXT_MAX, TEXT_MAX)
    assert {len(str(each["reason"])) for each in world.records} == {TEXT_MAX}
    of_all = msgspec.structs.replace(read(world.directory), halts=(halted,) * SCOPES_MAX)
    assert len(encode(of_all)) < LATCH_BYTES_MAX


async def test_a_scope_halted_between_the_steps_voids_the_token(world: World) -> None:
    offer = world.switch.arm("ada", "checked")
    world.switch.trip("a test", scope="venue", key="okx")
    with pytest.raises(ArmError, match="no such token"):
        await world.switch.confirm(offer.token)


async def test_a_trigger_trips_once(world: World) -> None:
    assert not world.switch.trigger("daily loss", name="daily_loss")  # is halted
    await world.arm()
    assert world.switch.trigger("a lost much", scope="account", key="a", name="daily_loss")
    assert not world.switch.trigger("a lost more", scope="account", key="a", name="daily_loss")
    assert world.switch.trigger("reject storm", name="rejects")
    assert not world.switch.trigger("reject storm", name="rejects")
    world.rung()
    assert world.actions() == ["arm", "halt", "kill"]


async def test_reducing_is_a_policy_and_comes_after_everything_was_cancelled(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, flatten=True)
    await world.arm()
    world.rounds = [1]
    async with running(world):
        world.switch.trip("a test")
        await world.until(lambda: world.clock.sleepers_count == 1)
        assert not world.word.is_reducing
        await world.clock.advance(1.0)
        await world.until(lambda: world.word.is_reducing)
        assert world.word.is_halted
        assert world.switch.draw()["state"] == "reducing"
        world.word.trip("again", "test")
        assert not world.word.is_reducing
    assert "reduce" in world.actions()


async def test_a_restart_does_not_reduce(tmp_path: Path) -> None:
    world = World(tmp_path, flatten=True)
    async with running(world):
        world.switch.trip("a scope", scope="venue", key="okx")
        await world.until(lambda: world.cancelled)
        await world.until(lambda: not world.switch.draw()["cancelling"])
    assert not world.word.is_reducing


async def test_a_clean_stop_is_on_record_and_halts(world: World) -> None:
    await world.arm()
    world.switch.stop()
    assert world.word.is_halted
    latch, fault = at_start(world.directory, config="c", wall_ns=1, mono_ns=1)
    assert (latch.reason, fault) == ("the daemon stopped", "")
    assert latch.open_orders == 5


async def test_a_stop_keeps_the_reason_of_a_kill_that_nobody_took_yet(world: World) -> None:
    await world.arm()
    world.word.trip("in the last moment", "test")
    assert select.select([world.word.fileno()], [], [], 20)[0]
    world.switch.stop()
    assert read(world.directory).reason == "in the last moment"


async def test_a_log_that_is_closed_keeps_nobody_from_halting(tmp_path: Path) -> None:
    word, clock = HaltWord(), ManualClock()
    first, _ = at_start(tmp_path, config="c", wall_ns=1, mono_ns=1)
    word.start(tmp_path, encode(first))

    def closed(_: dict[str, object]) -> None:
        raise BrokerError("the log is closed")

    switch = KillSwitch(
        RiskConfig(), word=word, first=first, clock=clock, hooks=Hooks(record=closed)
    )
    await switch.confirm(switch.arm("ada", "checked").token)
    switch.trip("a test")
    assert select.select([word.fileno()], [], [], 20)[0]
    switch.on_bell()
    assert word.is_halted


def test_a_word_has_one_switch(world: World) -> None:
    with pytest.raises(NativeError, match="somebody else"):
        world.word.arming()


def test_an_offer_is_plain_data(world: World) -> None:
    offer = world.switch.arm("ada", "checked")
    assert msgspec.convert(msgspec.to_builtins(offer), Offer) == offer
    assert offer.token not in repr(world.switch.draw())


async def test_a_side_is_halted_cancelled_kept_and_armed_by_itself(world: World) -> None:
    await world.arm()
    async with running(world):
        world.switch.trip("no more", scope="account", key="main", side="B")
        world.switch.trip("all of it", scope="account", key="main")
        world.switch.trip("nothing is sold", side="A")
        await world.until(lambda: not world.switch.draw()["cancelling"])
    assert world.cancelled == ["account main B", "account main", "global  A"]
    assert not world.word.is_halted, "a side of everything is no halt of everything"
    assert world.scopes == {
        ("account", "main", "B"): True,
        ("account", "main"): True,
        ("global", "", "A"): True,
    }
    halts = [record for record in world.records if record["action"] == "halt"]
    assert [record.get("side") for record in halts] == ["B", None, "A"]
    for side, known in (("B", True), ("A", False), ("", True)):
        assert world.switch.is_halted("account", "main", side) is known  # type: ignore[arg-type]
    with pytest.raises(ArmError, match="account main, sells is not halted") as refused:
        world.switch.arm("ada", "checked", scope="account", key="main", side="A")
    assert refused.value.hint == "account main, buys is: --side B, account main is: no --side"

    def kept() -> list[tuple[str, str, str]]:
        halts = read(world.directory).halts
        return [(each.scope, each.key, each.side) for each in halts]

    await world.until(lambda: len(kept()) == 3)
    offer = world.switch.arm("ada", "enough", scope="account", key="main", side="B")
    await world.switch.confirm(offer.token)
    assert world.scopes["account", "main", "B"] is False
    assert world.scopes["account", "main"] is True
    await world.until(lambda: kept() == [("account", "main", ""), ("global", "", "A")])
    lift = world.records[-1]
    assert (lift["action"], lift["side"]) == ("lift", "B")
    assert [each.get("side", "") for each in world.switch.draw()["halts"]] == ["", "A"]


async def test_a_restart_halts_the_sides_again(tmp_path: Path) -> None:
    first = World(tmp_path)
    first.switch.trip("no more", scope="venue", key="okx", side="B")
    first.switch.trip("no less", side="A")
    await asyncio.to_thread(first.switch.stop)
    again = World(tmp_path)
    assert again.scopes == {("venue", "okx", "B"): True, ("global", "", "A"): True}
    again.word.stop()


async def test_a_slow_side_blocks_itself_alone(world: World) -> None:
    world.rounds = [1] * 10
    async with running(world):
        world.switch.trip("a test", scope="venue", key="okx", side="A")
        await world.until(lambda: world.clock.sleepers_count == 1)
        assert world.switch.blockers("venue", "okx") == []
        assert world.switch.blockers("venue", "okx", "A") == ["orders are being cancelled"]
        await world.arm()
