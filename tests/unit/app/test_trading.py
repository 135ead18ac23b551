"""Trading in the daemon: what strategies ask for, what is on record of it, and what halts it.

Every part is real: tap, raw log, bus, gate, outbox, kill switch, paper accounts.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from risk.brokers.paper.broker import PaperBroker
from risk.errors import ArmError, BrokerError, LimitsError
from risk.gate import Gate
from tests.harness.trading_world import SYMBOL, VENUE, config_of, definition, living, until
from tickd.bus import FAILURES_MAX
from tickd.errors import Action
from tickd.native import EventBatch

NAME = f"{VENUE}:{SYMBOL}"
# A millisecond: the first look is late.
GAPS = "\n[risk.triggers]\ngap_ms_max = 1\n"


async def test_halted_an_intent_is_denied_on_record_for_the_strategy(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.define()
        await world.quote("100.00", "100.10")
        client_id = world.submit()
        (risk,) = world.of("risk", client_id=client_id)
        assert (risk["verdict"], risk["reason"], risk["account"]) == ("denied", "HALTED", "one")
        (order,) = world.of("order", client_id=client_id)
        assert (order["state"], order["reason"]) == ("denied", "HALTED")
        assert order["strategy"] == "chaser"
        assert world.trading.decisions["denied", "HALTED"] == 1
        assert not world.of("order", state="sent")


async def test_a_strategy_without_account_is_denied(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        client_id = world.submit("poor")
        (order,) = world.of("order", client_id=client_id)
        assert (order["state"], order["reason"]) == ("denied", "MISSING_ACCOUNT")
        assert world.of("risk", client_id=client_id)[0]["verdict"] == "denied"


async def test_armed_an_order_is_sent_accepted_and_filled_and_the_fill_is_held(
    tmp_path: Path,
) -> None:
    async with living(config_of(tmp_path)) as world:
        number = await world.ready()
        client_id = world.submit(price=10_010)
        await world.state(client_id, "filled")
        states = world.states(client_id)
        assert states[:2] == ["pending_new", "sent"]
        assert states[-1] == "filled"
        (risk,) = world.of("risk", client_id=client_id)
        assert (risk["verdict"], risk["limits"]) == ("approved", world.trading.gate.limits.hash)
        assert risk["figures"]["order_qty_limit"] == 10_000
        (execution,) = world.of("execution", client_id=client_id)
        assert (execution["price"], execution["size"]) == (10_010, 1_000)
        (held,) = world.trading.draw()["accounts"][0]["positions"]
        assert (held["strategy"], held["instrument"], held["size"]) == ("chaser", number, 1_000)
        assert world.trading.gate.position("one", "chaser", number) == (1_000, 0, 0)
        await until(lambda: any(each["positions"] for each in world.of("account", account="one")))


async def test_a_resting_order_is_replaced_and_cancelled(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        number = await world.ready()
        client_id = world.submit(price=9_990)
        await world.state(client_id, "accepted")
        replace = {"kind": "replace", "client_id": client_id, "strategy": "chaser"}
        world.trading.ask({**replace, "price": 9_980, "size": 2_000})
        assert "pending_replace" in world.states(client_id)
        await until(lambda: world.of("order", client_id=client_id)[-1]["order_price"] == 9_980)
        await until(lambda: world.trading.gate.position("one", "chaser", number)[1] == 2_000)
        world.trading.ask({"kind": "cancel", "client_id": client_id, "strategy": "chaser"})
        last = await world.state(client_id, "cancelled")
        assert (last["order_size"], last["cum_size"]) == (2_000, 0)
        assert world.trading.gate.position("one", "chaser", number) == (0, 0, 0)
        # What is over, or never was, is asked for in vain, and nothing happens.
        world.trading.ask({"kind": "cancel", "client_id": client_id, "strategy": "chaser"})
        world.trading.ask({"kind": "cancel", "client_id": client_id + 1, "strategy": "chaser"})
        assert world.states(client_id)[-1] == "cancelled"


async def test_a_number_that_was_used_sends_nothing_and_ends_no_other_order(
    tmp_path: Path,
) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        client_id = world.submit(price=9_990)
        await world.state(client_id, "accepted")
        before = world.states(client_id)
        world.submit(client_id=client_id, price=9_980)
        assert world.of("risk", client_id=client_id)[-1]["reason"] == "DUPLICATE"
        assert world.states(client_id) == before


async def test_a_kill_cancels_what_is_open_and_denies_what_comes(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        resting = [world.submit(price=9_990 - at) for at in range(3)]
        for each in resting:
            await world.state(each, "accepted")
        await world.halting.kill({"reason": "a test", "operator": "ada"})
        assert world.of("order", client_id=world.submit())[-1]["reason"] == "HALTED"
        for each in resting:
            await world.state(each, "cancelled")
        await until(lambda: world.of("audit", action="kill"))
        assert world.trading.risk_picture()["halted"]["global"] == 1


@pytest.mark.parametrize(
    ("scope", "key"),
    [("account", "one"), ("strategy", "chaser"), ("venue", VENUE), ("instrument", NAME)],
)
async def test_a_halted_scope_is_cancelled_denied_and_lifted(
    tmp_path: Path, scope: str, key: str
) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        inside, outside = world.submit(price=9_990), world.submit("maker", price=9_990)
        for each in (inside, outside):
            await world.state(each, "accepted")
        await world.halting.kill({"scope": scope, "key": key, "reason": "a test"})
        denied = world.of("order", client_id=world.submit())[-1]
        assert (denied["state"], denied["reason"]) == ("denied", "HALTED_SCOPE")
        await world.state(inside, "cancelled")
        of_both = scope in ("venue", "instrument")
        if of_both:
            await world.state(outside, "cancelled")
        else:
            assert world.states(outside)[-1] == "accepted"
            await world.state(world.submit("maker", price=9_989), "accepted")
        await world.arm(scope, key)
        await world.state(world.submit(price=9_988), "accepted")


async def test_a_redefined_instrument_stays_halted_and_lifting_lifts_only_what_counts(
    tmp_path: Path,
) -> None:
    async with living(config_of(tmp_path)) as world:
        old = await world.ready()
        await world.halting.kill({"scope": "instrument", "key": NAME, "reason": "a test"})
        new = await world.define(price_scale=3, tick=10)
        assert new != old
        await world.quote("100.000", "100.100")
        for number, price in ((old, 10_000), (new, 100_000)):
            client_id = world.submit(instrument=number, price=price)
            assert world.of("order", client_id=client_id)[-1]["reason"] == "HALTED_SCOPE"
        await world.arm("instrument", NAME)
        await world.state(world.submit(instrument=new, price=99_900), "accepted")
        # Brokers write prices by the scales that count now: under the old number they would be
        # others.
        client_id = world.submit(instrument=old, price=9_990)
        assert world.of("order", client_id=client_id)[-1]["reason"] == "HALTED_SCOPE"


async def test_what_is_held_and_open_under_an_old_definition_halts_the_symbol(
    tmp_path: Path,
) -> None:
    async with living(config_of(tmp_path)) as world:
        old = await world.ready()
        await world.state(world.submit(price=10_010), "filled")
        resting = world.submit("maker", price=9_990)
        await world.state(resting, "accepted")
        new = await world.define(price_scale=3, tick=10)
        (halt,) = world.of("audit", action="halt")
        assert (halt["scope"], halt["key"]) == ("instrument", NAME)
        assert "1 orders and 1 positions under the old definition" in halt["reason"]
        assert "tickd order adopt" in halt["reason"]
        await world.quote("100.000", "100.100")
        denied = world.of("order", client_id=world.submit(instrument=new, price=99_900))[-1]
        assert denied["reason"] == "HALTED_SCOPE"
        # What is said of the old order is read by its own scales, and the halt cancels it.
        order = world.trading.router.table.of_client(resting)
        assert order is not None
        own = world.trading._ordered("two", order.ref, "")
        assert own is not None
        assert (own.number, own.price_scale) == (old, 2)
        await world.state(resting, "cancelled")
        # Armed with the position still in the old books it is halted again at once.
        await world.arm("instrument", NAME)
        assert len(world.of("audit", action="halt")) == 2
        assert world.halting.switch.draw()["halts"]
        adopt = world.trading.commands()["order_adopt"]
        said = {"account": "one", "strategy": "chaser", "instrument": NAME, "size": "1"}
        await adopt({**said, "operator": "ada", "reason": "defined anew"})
        assert world.trading.gate.position("one", "chaser", old)[0] == 0
        assert world.trading.gate.position("one", "chaser", new)[0] == 1_000
        await world.arm("instrument", NAME)
        assert not world.halting.switch.draw()["halts"]


async def test_a_definition_that_changed_while_nobody_ran_halts_at_the_start(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        await world.ready()
        await world.state(world.submit(price=10_010), "filled")
    async with living(type(config)(node=config.node)) as world:
        world.tap.record(0, "C", definition(price_scale=3, tick=10))
        await asyncio.sleep(0)
    async with living(config) as world:
        halts = world.halting.switch.draw()["halts"]
        assert [(each["scope"], each["key"]) for each in halts] == [("instrument", NAME)]
        assert "defined anew" in halts[0]["reason"]


async def test_what_was_halted_before_anybody_defined_it_stays_halted(tmp_path: Path) -> None:
    async with living(config_of(tmp_path / "first")) as world:
        number = await world.define()
    async with living(config_of(tmp_path / "second")) as world:
        key = world.trading.instruments.label(number)
        assert key == f":{number}"
        world.halting.switch.trip("in doubt", scope="instrument", key=key, source="router")
        assert await world.ready() == number
        client_id = world.submit()
        assert world.of("order", client_id=client_id)[-1]["reason"] == "HALTED_SCOPE"
        await world.arm("instrument", key)
        resting = world.submit(price=9_990)
        await world.state(resting, "accepted")
        world.halting.switch.trip("in doubt", scope="instrument", key=key, source="router")
        await world.state(resting, "cancelled")


async def test_a_slip_in_a_symbol_halts_nothing_and_says_so(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        kill = world.halting.kill
        with pytest.raises(ArmError, match="nothing was halted") as refused:
            await kill({"scope": "instrument", "key": f"{VENUE}:AAAUSTD"})
        assert f"did you mean {NAME}?" in (refused.value.hint or "")
        assert not world.halting.switch.draw()["halts"]
        await world.state(world.submit(price=9_990), "accepted")
        # No file names it, its venue has defined it.
        with pytest.raises(ArmError, match="nothing was halted"):
            await kill({"scope": "instrument", "key": f"{VENUE}:BBBUSDT"})
        await world.define(symbol="BBBUSDT")
        await kill({"scope": "instrument", "key": f"{VENUE}:BBBUSDT"})
        assert world.halting.switch.is_halted("instrument", f"{VENUE}:BBBUSDT")


async def test_what_is_open_or_held_may_be_halted_whoever_has_defined_it(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        number = await world.ready()
        await world.state(world.submit(price=10_010), "filled")
    # A raw log that lost the definition, and another file: only the outbox knows.
    shutil.rmtree(tmp_path / "raw")
    (tmp_path / "risk" / "positions.json").unlink()
    other = config_of(tmp_path, symbol="ZZZUSDT")
    async with living(other) as world:
        with pytest.raises(ArmError, match="nothing was halted"):
            await world.halting.kill({"scope": "instrument", "key": NAME})
        await world.halting.kill({"scope": "instrument", "key": f":{number}"})
        assert world.halting.switch.is_halted("instrument", f":{number}")


async def test_a_venue_may_go_back_to_a_definition_that_it_had(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        first = await world.define()
        second = await world.define(price_scale=3, tick=10)
        assert await world.define() == first
        assert world.trading.instruments.numbers(VENUE, SYMBOL) == [first, second]
    async with living(config) as world:
        traded = world.trading.instruments.traded(VENUE, SYMBOL)
        assert traded is not None
        assert (traded.number, traded.price_scale) == (first, 2)
        await world.quote("100.00", "100.10")
        await world.arm()
        await world.state(world.submit(instrument=first, price=9_990), "accepted")
        client_id = world.submit(instrument=second, price=99_900)
        assert world.of("order", client_id=client_id)[-1]["reason"] == "HALTED_SCOPE"


async def test_positions_and_halts_of_scopes_outlive_a_restart(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        number = await world.ready()
        await world.state(world.submit(price=10_010), "filled")
        before = world.trading.ledger.draw("one")
        await world.halting.kill({"scope": "strategy", "key": "chaser", "reason": "a test"})
    async with living(config) as world:
        assert world.trading.gate.position("one", "chaser", number) == (1_000, 0, 0)
        after = world.trading.ledger.draw("one")
        for name in ("positions", "realised", "fees"):
            assert after[name] == before[name]
        await world.quote("100.00", "100.10")
        await world.arm()
        world.asked["chaser"] = 100  # numbers are never used again
        client_id = world.submit()
        assert world.of("order", client_id=client_id)[-1]["reason"] == "HALTED_SCOPE"
        # What is there is still known to the venue that lives with us: nothing differs.
        assert world.halting.switch.blockers() == []


class Failing:
    """The paper account until `refuse`; then its credentials are refused."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.refused = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def is_up(self) -> bool:
        return not self.refused.is_set()

    async def run(self) -> None:
        await self.refused.wait()
        raise BrokerError("the key was refused", action=Action.FATAL, hint="another key")


async def test_a_broker_that_fails_halts_its_account_alone(tmp_path: Path) -> None:
    async with living(config_of(tmp_path), wrap={"two": Failing}) as world:
        await world.ready()
        await world.state(world.submit("maker", price=9_990), "accepted")
        failing: Any = world.trading.brokers["two"]
        failing.refused.set()
        await until(lambda: world.of("audit", action="halt"))
        (halt,) = world.of("audit", action="halt")
        assert (halt["scope"], halt["key"]) == ("account", "two")
        assert halt["reason"] == "the key was refused"
        denied = world.of("order", client_id=world.submit("maker"))[-1]
        assert (denied["state"], denied["reason"]) == ("denied", "BROKER_DOWN")
        await world.state(world.submit(price=9_990), "accepted")
        # It stays halted, and holds up nobody: everything else is armed again after a kill.
        assert "two is not connected" in world.halting.switch.blockers("account", "two")
        await world.halting.kill({"scope": "global", "key": "", "reason": "a test"})
        await until(lambda: world.of("audit", action="kill"))
        await world.arm()
        assert not world.halting.word.is_halted
        assert world.halting.switch.is_halted("account", "two")
        with pytest.raises(ArmError, match="two is not connected"):
            world.halting.switch.arm("ada", "at once", scope="account", key="two")


async def test_arming_is_refused_until_books_and_venues_agree(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        with pytest.raises(ArmError, match="not reconciled"):
            world.halting.switch.arm("ada", "at once")
        world.trading.watch_lag(lambda: 60.0)
        await until(lambda: len(world.halting.switch.blockers()) == 1)
        assert world.halting.switch.blockers() == ["market data is more than 5000 ms late"]
        world.trading.watch_lag(lambda: 0.0)
        await world.arm()


async def test_a_reload_only_tightens_while_armed(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        first = world.trading.gate.limits.hash
        with pytest.raises(LimitsError, match="only tighten while armed"):
            world.trading.reload(config_of(tmp_path, order_qty_max="11"))
        assert world.trading.router.limits == first
        world.trading.reload(config_of(tmp_path, order_qty_max="0.5"))
        audit = world.of("audit", action="reload")[-1]
        assert audit["reason"] == world.trading.gate.limits.hash
        assert audit["source"] == "reload", "it was called from within: no process asked"
        denied = world.of("order", client_id=world.submit())[-1]
        assert denied["reason"] == "MAX_ORDER_QTY"
        await world.halting.kill({"reason": "a test"})
        world.trading.reload(config_of(tmp_path, order_qty_max="11"))
        assert world.trading.router.limits == world.trading.gate.limits.hash


async def test_too_large_a_loss_halts_the_account(tmp_path: Path) -> None:
    more = "[risk.triggers]\ndaily_loss_max = 1_000_000_000\n"  # 10 USDT
    async with living(config_of(tmp_path, more=more)) as world:
        await world.ready()
        await world.state(world.submit(price=10_010), "filled")
        await world.quote("80.00", "80.10")
        await until(lambda: world.of("audit", action="halt"))
        (halt,) = world.of("audit", action="halt")
        assert (halt["scope"], halt["key"], halt["source"]) == ("account", "one", "daily loss")
        assert "lost" in halt["reason"]


async def test_a_clean_end_cancels_what_is_open(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        client_id = world.submit(price=9_990)
        await world.state(client_id, "accepted")
    assert world.states(client_id)[-1] == "cancelled"


async def test_without_accounts_everything_is_denied_and_nothing_runs(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    bare = type(config)(node=config.node)
    async with living(bare) as world:
        client_id = world.submit()
        (order,) = world.of("order", client_id=client_id)
        assert (order["state"], order["reason"]) == ("denied", "MISSING_ACCOUNT")
        assert world.trading.draw()["accounts"] == []


class Raising:
    """What a part with a bug does with a burst."""

    def take(self, _: object) -> None:
        raise ValueError("a bug")


async def test_a_gate_without_prices_halts_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "take", Raising.take)
    async with living(config_of(tmp_path)) as world:
        await world.define()
        await world.arm()
        for _ in range(FAILURES_MAX):
            assert not world.halting.word.is_halted
            await world.quote("100.00", "100.10")
        assert world.halting.word.is_halted
        await until(lambda: world.of("audit", action="kill"))
        assert "'risk'" in world.of("audit", action="kill")[-1]["reason"]


async def test_an_account_that_fails_at_the_market_is_halted_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = PaperBroker.take
    failing: list[object] = []

    def broken(self: PaperBroker, batch: EventBatch) -> None:
        if self in failing:
            raise ValueError("a bug")
        take(self, batch)

    monkeypatch.setattr(PaperBroker, "take", broken)
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        failing.append(world.trading.brokers["two"])
        for _ in range(FAILURES_MAX):
            await world.quote("100.00", "100.10")
        (halt,) = world.of("audit", action="halt")
        assert (halt["scope"], halt["key"], halt["source"]) == ("account", "two", "bus")
        # The gate and the other account go on with new prices.
        await world.quote("101.00", "101.10")
        await world.state(world.submit(price=10_110), "filled")


async def test_a_book_that_stays_broken_halts_its_instrument_once_something_is_open(
    tmp_path: Path,
) -> None:
    async with living(config_of(tmp_path, more=GAPS)) as world:
        await world.ready()
        await world.depth(first=10, last=12)  # no snapshot comes: the book is not whole
        switch = world.halting.switch
        assert not switch.is_halted("instrument", NAME)
        world.trading.look()
        assert not switch.is_halted("instrument", NAME), "nothing is open in it"
        client_id = world.submit(price=9_900)
        await world.state(client_id, "accepted")
        world.trading.look()
        assert switch.is_halted("instrument", NAME)
        await world.state(client_id, "cancelled")


async def test_a_book_that_is_not_recorded_any_more_is_not_broken(tmp_path: Path) -> None:
    async with living(config_of(tmp_path, more=GAPS)) as world:
        await world.ready()
        await world.depth(first=10, last=12)
        client_id = world.submit(price=9_900)
        topics = [f"depth.{VENUE}.{SYMBOL}"]
        world.tap.control(
            {"kind": "shed", "connection": 1, "channels": ["depth"], "topics": topics, "cause": "x"}
        )
        await world.state(client_id, "accepted")
        world.trading.look()
        assert not world.halting.switch.is_halted("instrument", NAME)
