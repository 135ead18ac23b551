"""Orders for people: control commands and `tickd order`, over a real router on paper accounts."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from recorder.trading.rows import ControlRecord, row_of
from risk.errors import ArmError, BrokerError
from risk.orders import Report, ReportKind, Snapshot, VenuePosition
from tests.harness.trading_world import SYMBOL, VENUE, World, config_of, living, until
from tickd.app.commands.order import order
from tickd.app.control import ControlServer, ask
from tickd.app.exit_codes import ExitCode
from tickd.errors import ConfigError, TickdError

# This process, as the kernel tells it to the socket's other end.
OWN = f"uid={os.geteuid()} pid={os.getpid()}"
# What is in doubt is found out soon, and not waited for at the end.
LEAVE: dict[str, Any] = {"more": "[risk]\ncancel_at_stop = false\n", "ack_timeout_ms": 100}


async def asked(world: World, command: str, **request: object) -> Any:
    return await world.trading.commands()[f"order_{command}"](request)


class Silenced:
    """The paper account, which from some moment on tells no lists."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.is_silent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def snapshot(self) -> Snapshot:
        if self.is_silent:
            raise BrokerError("no answer")
        real: Snapshot = await self._real.snapshot()
        return real


async def doubtful(world: World) -> tuple[int, str]:
    """An order of which the venue counts more than it told executions of; client id and ref."""
    client_id = world.submit(price=9_990)
    ref = (await world.state(client_id, "accepted"))["ref"]
    broker: Any = world.trading.brokers["one"]
    broker.is_silent = True  # or its lists settle the doubt
    counted = Report(kind=ReportKind.ACKED, ref=ref, cum_size=400)
    world.trading.router.on_report("one", counted)
    await world.state(client_id, "unknown")
    return client_id, ref


async def test_orders_are_listed_newest_first_in_units(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        first, second = world.submit(price=9_990), world.submit(price=9_980, size=1_500)
        filled = world.submit(price=10_010)
        for client_id, state in ((first, "accepted"), (second, "accepted"), (filled, "filled")):
            await world.state(client_id, state)
        answer = await asked(world, "list")
        assert [(row["price"], row["size"]) for row in answer["orders"]] == [
            ("99.80", "1.500"),
            ("99.90", "1.000"),
        ]
        answer = await asked(world, "list", all=True)
        assert [row["client_id"] for row in answer["orders"]] == [filled, second, first]
        assert answer["orders"][0]["state"] == "FILLED"
        assert (answer["orders"][0]["filled"], answer["more"]) == ("1.000", 0)


async def test_one_order_is_found_by_ref_and_by_number(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        client_id = world.submit(price=9_990)
        record = await world.state(client_id, "accepted")
        shown = await asked(world, "show", ref=record["ref"])
        assert shown == await asked(world, "show", ref=str(record["number"]))
        assert (shown["symbol"], shown["doubts"], shown["executions"]) == (SYMBOL, [], [])
        for name in ("zzzzzz", "", "999999999999", "?"):
            with pytest.raises(TickdError, match="no order") as refused:
                await asked(world, "show", ref=name)
            assert "tickd order list" in str(refused.value.hint)


async def test_an_order_is_shown_in_the_scales_that_it_was_asked_in(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        client_id = world.submit(price=9_990)
        record = await world.state(client_id, "accepted")
        await world.define(price_scale=3, tick=10)
        assert (await asked(world, "show", ref=record["ref"]))["price"] == "99.90"


async def test_a_cancel_is_asked_for_and_what_is_over_says_so(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        client_id = world.submit(price=9_990)
        ref = (await world.state(client_id, "accepted"))["ref"]
        assert (await asked(world, "cancel", ref=ref))["state"] == "PENDING_CANCEL"
        await world.state(client_id, "cancelled")
        with pytest.raises(TickdError, match="NO_SUCH_ORDER") as refused:
            await asked(world, "cancel", ref=ref)
        assert refused.value.hint == "it is CANCELLED"


async def test_a_persons_word_settles_a_doubt_and_is_on_record(tmp_path: Path) -> None:
    async with living(config_of(tmp_path, **LEAVE), wrap={"one": Silenced}) as world:
        number = await world.ready()
        _, ref = await doubtful(world)
        assert f"order {ref} of one is UNKNOWN" in world.halting.switch.blockers()
        said = {"ref": ref, "end": "cancelled", "operator": "ada", "reason": "the venue's page"}
        answer = await asked(world, "resolve", **said, filled="0.4")
        assert (answer["state"], answer["filled"]) == ("CANCELLED", "0.400")
        (audit,) = world.of("audit", action="resolve")
        assert (audit["operator"], audit["key"], audit["reason"]) == (
            "ada",
            ref,
            "the venue's page",
        )
        assert audit["source"] == "router", "it was called from within: no process asked"
        assert world.trading.gate.position("one", "chaser", number) == (400, 0, 0)
        with pytest.raises(TickdError, match="not UNKNOWN"):
            await asked(world, "resolve", **said)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"operator": " "}, "who says so"),
        ({"reason": ""}, "who says so"),
        ({"end": "gone"}, "an order ends as one of"),
        ({"filled": "7"}, "filled"),
        ({"filled": "0.0001"}, "0.0001"),
        ({"filled": "much"}, "much"),
        ({"price": "a lot"}, "a lot"),
    ],
)
async def test_words_that_do_not_fit_change_nothing(
    tmp_path: Path, other: dict[str, str], words: str
) -> None:
    async with living(config_of(tmp_path, **LEAVE), wrap={"one": Silenced}) as world:
        await world.ready()
        client_id, ref = await doubtful(world)
        said = {"ref": ref, "end": "cancelled", "operator": "ada", "reason": "r", "filled": "0"}
        with pytest.raises(TickdError, match=words):
            await asked(world, "resolve", **{**said, **other})
        assert not world.of("audit", action="resolve")
        assert world.states(client_id)[-1] != "cancelled"


ADOPTED = {
    "account": "one",
    "instrument": f"{VENUE}:{SYMBOL}",
    "size": "-1.5",
    "operator": "ada",
    "reason": "from before",
}


class Holding:
    """The paper account, which holds something that no order of ours made."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def snapshot(self) -> Snapshot:
        real: Snapshot = await self._real.snapshot()
        return structs.replace(real, positions=(VenuePosition(symbol=SYMBOL, size=-1_500),))


async def test_an_adopted_position_is_ours_and_no_difference_any_more(tmp_path: Path) -> None:
    differs = f"one: position in {SYMBOL} is 0 here, -1500 there"
    async with living(config_of(tmp_path), wrap={"one": Holding}) as world:
        number = await world.define()
        await world.quote("100.00", "100.10")
        await until(lambda: differs in world.halting.switch.blockers())
        with pytest.raises(ArmError, match="position"):
            world.halting.switch.arm("ada", "at once")
        answer = await asked(world, "adopt", **ADOPTED)
        assert answer["mantissa"] == -1_500
        (audit,) = [each for each in world.of("audit") if each["operator"] == "ada"]
        assert (audit["scope"], audit["key"], audit["reason"]) == ("account", "one", "from before")
        assert world.trading.gate.position("one", "", number) == (-1_500, 0, 0)
        (held,) = world.trading.draw()["accounts"][0]["positions"]
        assert (held["instrument"], held["size"]) == (number, -1_500)
        await world.arm()
        assert not world.halting.word.is_halted


async def test_an_adopted_position_outlives_its_daemon(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        number = await world.define()
        await asked(world, "adopt", **ADOPTED, strategy="chaser")
    async with living(config) as world:
        assert world.trading.gate.position("one", "chaser", number) == (-1_500, 0, 0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"operator": " "}, "operator is missing"),
        ({"reason": ""}, "reason is missing"),
        ({"size": ""}, "size is missing"),
        ({"size": "much"}, "much"),
        ({"account": "none"}, "no account 'none'"),
        ({"instrument": "okx:A"}, "no instrument 'okx:A'"),
    ],
)
async def test_words_that_do_not_fit_adopt_nothing(
    tmp_path: Path, other: dict[str, str], words: str
) -> None:
    async with living(config_of(tmp_path)) as world:
        number = await world.define()
        with pytest.raises(TickdError, match=words):
            await asked(world, "adopt", **{**ADOPTED, **other})
        assert not world.of("audit")
        assert world.trading.gate.position("one", "", number) == (0, 0, 0)


async def test_the_command_line_adopts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with living(config_of(tmp_path)) as world:
        server = ControlServer(tmp_path, dict(world.trading.commands()))
        await server.start()
        try:
            number = await world.define()
            ended = await asyncio.to_thread(order, "adopt", tmp_path, **ADOPTED)
            assert ended == ExitCode.OK
            assert "mantissa: -1500" in capsys.readouterr().out
            assert world.trading.gate.position("one", "", number) == (-1_500, 0, 0)
            (audit,) = [each for each in world.of("audit") if each["operator"] == "ada"]
            assert audit["source"] == f"router {OWN}"
        finally:
            await server.stop()


async def test_the_command_line_resolves_and_the_kernel_says_for_whom(tmp_path: Path) -> None:
    async with living(config_of(tmp_path, **LEAVE), wrap={"one": Silenced}) as world:
        server = ControlServer(tmp_path, dict(world.trading.commands()))
        await server.start()
        try:
            await world.ready()
            _, ref = await doubtful(world)
            said = {"end": "cancelled", "filled": "0.4", "operator": "ada uid=0", "reason": "seen"}
            ended = await asyncio.to_thread(order, "resolve", tmp_path, ref, **said)
            assert ended == ExitCode.OK
        finally:
            await server.stop()
        (audit,) = world.of("audit", action="resolve")
        record = ControlRecord(1 << 16, 0, json.dumps(audit).encode())
        row = row_of(record, node=1).values
        assert (row["operator"], row["source"]) == ("ada uid=0", f"router {OWN}")


async def test_a_reload_by_command_names_the_process_that_asked(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        fresh = config_of(tmp_path, order_qty_max="0.5")

        async def reload(_: object) -> object:
            return world.trading.reload(fresh)

        server = ControlServer(tmp_path, {"reload": reload})
        await server.start()
        try:
            await ask(tmp_path, "reload", source="another")
        finally:
            await server.stop()
        (audit,) = world.of("audit", action="reload")
        assert audit["source"] == f"reload {OWN}"


async def test_the_command_line_lists_shows_and_cancels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with living(config_of(tmp_path)) as world:
        server = ControlServer(tmp_path, dict(world.trading.commands()))
        await server.start()
        try:
            assert await asyncio.to_thread(order, "list", tmp_path) == ExitCode.OK
            assert capsys.readouterr().out.endswith("no orders\n")
            await world.ready()
            client_id = world.submit(price=9_990)
            ref = (await world.state(client_id, "accepted"))["ref"]
            await asyncio.to_thread(order, "list", tmp_path)
            listed = capsys.readouterr().out
            assert ref in listed
            assert "99.90" in listed
            await asyncio.to_thread(order, "show", tmp_path, ref, as_json=True)
            assert json.loads(capsys.readouterr().out.splitlines()[-1])["ref"] == ref
            await asyncio.to_thread(order, "cancel", tmp_path, ref)
            assert "state: PENDING_CANCEL" in capsys.readouterr().out
            await world.state(client_id, "cancelled")
            with pytest.raises(TickdError, match="NO_SUCH_ORDER"):
                await asyncio.to_thread(order, "cancel", tmp_path, ref)
        finally:
            await server.stop()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show"], "name the order"),
        (["cancel"], "name the order"),
        (["resolve", "REF"], "a person says how it ended"),
        (["resolve", "REF", "--end", "filled", "--operator", "ada"], "a person says how it ended"),
        (["resolve", "REF", "--end", "lost"], "lost"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(
    tmp_path: Path, command: Any, arguments: list[str], words: str
) -> None:
    ended = command("order", arguments[0], tmp_path, *arguments[1:])
    assert ended.code == ExitCode.BAD_CONFIG
    assert words in ended.err


def test_without_a_daemon_it_ends_with_1_and_names_the_socket(tmp_path: Path, command: Any) -> None:
    ended = command("order", "list", tmp_path)
    assert ended.code == ExitCode.FAILED
    assert "tickd run" in ended.err


def test_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        order("list", tmp_path / "none.toml")


@pytest.mark.parametrize("figure", ["9" * 30, "9" * 5_000, "1e400", "nan", "-" + "1" * 400])
async def test_huge_figures_of_an_operator_are_refused_in_words(
    tmp_path: Path, figure: str
) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.define()
        with pytest.raises(TickdError, match=r"does not fit 64 bits|not a decimal number"):
            await asked(world, "adopt", **{**ADOPTED, "size": figure})
        for command in ("show", "cancel", "resolve"):
            with pytest.raises(TickdError, match=r"no order|who says so"):
                await asked(world, command, ref=figure)
            with pytest.raises(TickdError, match="no order"):
                await asked(world, command, ref="z" * 5_000, operator="ada", reason="r")


async def test_a_damaged_positions_file_holds_up_arming_until_a_person_has_looked(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        await world.ready()
        await world.state(world.submit(price=10_010), "filled")
    (tmp_path / "risk" / "positions.json").write_bytes(b"{")
    async with living(config) as world:
        await world.quote("100.00", "100.10")
        switch = world.halting.switch
        await until(lambda: len(switch.blockers()) == 1)
        assert "tickd risk acknowledge" in switch.blockers()[0]
        assert world.trading.alerts == {"POSITIONS_DAMAGED": 1}
        with pytest.raises(ArmError, match="daily loss"):
            switch.arm("ada", "at once")
        acknowledge = world.trading.commands()["risk_acknowledge"]
        with pytest.raises(TickdError, match="who says so"):
            await acknowledge({})
        assert switch.blockers()
        await acknowledge({"operator": "ada", "reason": "looked at the venue's page"})
        (audit,) = world.of("audit", action="acknowledge")
        assert (audit["operator"], audit["reason"]) == ("ada", "looked at the venue's page")
        with pytest.raises(TickdError, match="nothing to acknowledge"):
            await acknowledge({"operator": "ada", "reason": "again"})
        await world.arm()
