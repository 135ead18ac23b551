"""The kill switch in the daemon: what stands before the loop, the commands, what people read."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SubscriptionConfig, VenueConfig
from risk.config import RiskConfig
from risk.errors import ArmError
from risk.kill_hooks import Hooks
from risk.latch import read
from risk.limits import LimitConfig
from tickd.app.commands.risk import described
from tickd.app.config import Config, NodeConfig
from tickd.app.control import ControlServer, ask
from tickd.app.halting import Halting
from tickd.testing.clock import ManualClock


def halting(state_dir: Path) -> Halting:
    node, venue = NodeConfig(state_dir=str(state_dir)), VenueConfig(name="okx", symbols=("X",))
    return Halting(Config(node=node, venues=(venue,)), ManualClock())


def joined(state_dir: Path, records: list[dict[str, object]]) -> Halting:
    made = halting(state_dir)
    made.join(Hooks(record=records.append))
    return made


def test_a_signal_that_waited_trips_as_soon_as_the_handler_stands(tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    # To this thread: the libraries' threads of a test run do not block it, as a daemon's do.
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    made = halting(tmp_path)
    made.stand()
    try:
        assert made.word.epoch == 2
        assert select.select([made.word.fileno()], [], [], 20)[0]
        assert read(tmp_path / "risk").source.kind == "signal"
        records: list[dict[str, object]] = []
        made.join(Hooks(record=records.append)).on_bell()
        assert records[0]["action"] == "kill"
        assert read(tmp_path / "risk").source.kind == "signal"
    finally:
        made.stop()


def test_a_state_directory_that_cannot_be_made_halts_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    made = joined(tmp_path / "file", [])
    made.word.trip("a test", "test")
    assert select.select([made.word.fileno()], [], [], 20)[0]
    answer = made.draw()
    assert answer["state"] == "halted"
    assert any("cannot be written" in each for each in answer["blockers"])
    assert "not to be armed: the latch file cannot be written" in "\n".join(described(answer))


def test_another_daemon_s_file_is_left_alone_until_the_raw_log_is_ours(tmp_path: Path) -> None:
    ours = joined(tmp_path, [])
    asyncio.run(_armed(ours))
    assert read(tmp_path / "risk").is_armed
    second = halting(tmp_path)
    second.stand(signals=False)
    second.word.stop()
    assert read(tmp_path / "risk").is_armed


async def _armed(made: Halting) -> None:
    offer = await made.arm({"operator": "ada", "reason": "checked"})
    answer = await made.confirm({"token": offer["token"]})
    assert answer["state"] == "armed"


async def test_the_commands_halt_and_arm_in_two_steps(tmp_path: Path) -> None:
    records: list[dict[str, object]] = []
    made = joined(tmp_path, records)
    await _armed(made)
    said = await made.kill({"scope": "venue", "key": "okx", "operator": "ada", "reason": "r"})
    assert said == {"state": "armed", "scope": "venue", "key": "okx"}
    assert (await made.kill({}))["state"] == "halted"
    assert select.select([made.word.fileno()], [], [], 20)[0]
    made.switch.on_bell()
    assert [record["action"] for record in records] == ["arm", "halt", "kill"]
    assert records[1]["source"] == "operator ada"
    assert records[1]["operator"] == "ada"
    answer = await made.status({})
    assert answer["halts"][0]["key"] == "okx"
    lines = "\n".join(described(answer))
    assert "halted since" in lines
    assert "halted: venue okx" in lines
    with pytest.raises(ArmError):
        await made.confirm({"token": "guess"})
    made.stop()
    assert read(tmp_path / "risk").reason == "by command"


@pytest.mark.parametrize(
    "request_",
    [
        {"scope": "planet", "key": "x"},
        {"scope": "venue"},
        {"scope": "global", "key": "okx"},
        {"scope": 7},
    ],
)
async def test_a_scope_that_is_none_is_refused(tmp_path: Path, request_: dict[str, object]) -> None:
    made = joined(tmp_path, [])
    for command in (made.kill, made.arm):
        with pytest.raises(ArmError, match="no such scope"):
            await command({"operator": "ada", "reason": "r", **request_})
    assert made.word.epoch == 1


@pytest.mark.parametrize(
    ("scope", "key", "hint"),
    [
        ("venue", "binance", "there are: okx"),
        ("venue", "okx:X", "there are: okx"),
        ("instrument", "okx", "there are: okx:SYMBOL"),
        ("instrument", "X", "there are: okx:SYMBOL"),
        ("instrument", "okx:", "there are: okx:SYMBOL"),
        ("instrument", "okx:x", "did you mean okx:X?; --scope venue --key okx halts all of it"),
        (
            "instrument",
            "okx:ETH-USDT-SWAP",
            "tickd plan CONFIG --symbols; --scope venue --key okx halts all of it",
        ),
        ("venue", "okx:", "there are: okx"),
        ("account", "one", "there are: none"),
        ("strategy", "chaser", "there are: none"),
    ],
)
async def test_a_halt_of_nothing_is_refused_and_names_what_there_is(
    tmp_path: Path, scope: str, key: str, hint: str
) -> None:
    records: list[dict[str, object]] = []
    made = joined(tmp_path, records)
    with pytest.raises(ArmError, match="nothing was halted") as refused:
        await made.kill({"scope": scope, "key": key})
    assert refused.value.hint == hint
    assert not records
    # A symbol that nobody defined yet may be halted before it is there.
    await made.kill({"scope": "instrument", "key": "okx:X", "reason": "r"})
    assert (await made.status({}))["halts"][0]["key"] == "okx:X"


@pytest.mark.parametrize("key", ["okx:A", "okx:B", "okx:C", "okx:D"])
async def test_every_symbol_that_the_file_names_may_be_halted(tmp_path: Path, key: str) -> None:
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path)),
        venues=(VenueConfig(name="okx", symbols=("A",)),),
        subscriptions=(
            SubscriptionConfig(name="some", patterns=("okx:B@trade", "okx:E*@trade", "!okx:EX@*")),
        ),
        risk=RiskConfig(limits=(LimitConfig(instrument="okx:C"),), restricted=("okx:D",)),
    )
    made = Halting(config, ManualClock())
    made.join(Hooks(record=lambda _said: None))
    said = await made.kill({"scope": "instrument", "key": key})
    assert said["key"] == key
    for none in ("okx:E*", "okx:EX", "okx:EE"):
        with pytest.raises(ArmError, match="nothing was halted"):
            await made.kill({"scope": "instrument", "key": none})
    made.stop()


@pytest.mark.parametrize("side", ["X", "buy", 7, None])
async def test_a_side_that_is_none_is_refused(tmp_path: Path, side: object) -> None:
    made = joined(tmp_path, [])
    for command in (made.kill, made.arm):
        with pytest.raises(ArmError, match="no such side"):
            await command({"operator": "ada", "reason": "r", "side": side})
    assert made.word.epoch == 1
    assert not made.draw()["halts"]


async def test_a_side_is_halted_and_armed_on_the_command_line(tmp_path: Path, command) -> None:
    made = joined(tmp_path, [])
    server = ControlServer(tmp_path, made.commands())
    await server.start()

    async def run(*words: str):
        return await asyncio.to_thread(command, "risk", words[0], tmp_path, *words[1:])

    try:
        await _armed(made)
        assert (await run("kill", "--side", "A")).out.endswith("halted: global, sells\n")
        venue = ("--scope", "venue", "--key", "okx")
        assert (await run("kill", *venue, "--side", "B")).out.endswith("halted: venue okx, buys\n")
        assert not made.word.is_halted
        said = (await run("status")).out
        assert "\nhalted: global, sells since" in said
        assert "\nhalted: venue okx, buys since" in said
        await _cancelled(made)
        person = ("--operator", "ada", "--reason", "checked")
        slip = await run("arm", *venue, *person)
        assert "venue okx is not halted" in slip.err
        assert "venue okx, buys is: --side B" in slip.err
        offered = (await run("arm", *venue, "--side", "B", *person)).out
        assert offered.startswith("to arm venue okx, buys, within")
        assert "venue okx" not in (await run("arm", "--confirm", offered.split()[-1])).out
        (left,) = made.draw()["halts"]
        assert (left["scope"], left["side"]) == ("global", "A")
    finally:
        await server.stop()


async def test_the_command_line_asks_the_daemon(tmp_path: Path, command) -> None:
    made = joined(tmp_path, [])
    server = ControlServer(tmp_path, made.commands())
    await server.start()

    async def run(*words: str):
        return await asyncio.to_thread(command, "risk", words[0], tmp_path, *words[1:])

    try:
        first = await run("arm", "--operator", "ada", "--reason", "checked")
        assert first.code == 0
        assert "--confirm" in first.out
        token = first.out.split()[-1]
        assert (await run("arm", "--confirm", "wrong")).code == 1
        assert made.word.is_halted
        first = await run("arm", "--operator", "ada", "--reason", "checked")
        token = first.out.split()[-1]
        second = await run("arm", "--confirm", token)
        assert second.code == 0
        assert "\narmed since" in f"\n{second.out}"
        assert '{"state":"armed"' in (await run("status", "--json")).out
        assert (await run("kill", "--reason", "r")).out.endswith("halted: global\n")
        assert made.word.is_halted
        slip = await run("kill", "--scope", "venue", "--key", "binance")
        assert "nothing was halted" in slip.err
        assert "there are: okx" in slip.err
        scoped = await run("kill", "--scope", "venue", "--key", "okx")
        assert scoped.out.endswith("halted: venue okx\n")
    finally:
        await server.stop()


async def test_what_the_daemon_sees_halts_once_armed(tmp_path: Path) -> None:
    records: list[dict[str, object]] = []
    clock = ManualClock()
    made = Halting(Config(node=NodeConfig(state_dir=str(tmp_path))), clock)
    made.join(Hooks(record=records.append))
    for seen in (
        {"fault": "disk full", "lag_s": 0.0},
        {"fault": None, "lag_s": 9.0},
        {"fault": None, "lag_s": 0.0},
    ):
        await _armed(made)
        for _ in range(7):
            clock.move(1_000_000_000)
            made.watch(**seen)  # type: ignore[arg-type]
        if not made.word.is_halted:
            clock.step_wall(-2_000_000_000)
            made.watch(**seen)  # type: ignore[arg-type]
        assert made.word.is_halted
        assert select.select([made.word.fileno()], [], [], 20)[0]
        made.switch.on_bell()
        await _cancelled(made)
    kills = [record["source"] for record in records if record["action"] == "kill"]
    assert kills == ["recorder", "lag", "clock"]


async def _cancelled(made: Halting) -> None:
    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(made.switch.run(), name="kill switch")
        async with asyncio.timeout(20):
            while made.switch.blockers() or made.draw()["cancelling"]:  # noqa: ASYNC110 - nothing to wait for but this
                await asyncio.sleep(0)
        life.cancel()


def test_arming_on_the_command_line_needs_a_person_and_a_reason(tmp_path: Path, command) -> None:
    ended = command("risk", "arm", tmp_path, "--operator", "ada")
    assert ended.code == 2
    assert "--reason" in ended.err


def test_a_daemon_that_does_not_answer_is_to_be_killed_by_signal(tmp_path: Path, command) -> None:
    ended = command("risk", "kill", tmp_path)
    assert ended.code == 1
    assert "kill -USR1" in ended.err


def test_what_people_read_says_who_killed_and_how_the_last_resort_ended() -> None:
    source = {"kind": "signal", "name": "SIGUSR1", "uid": 0, "pid": 77}
    latch = {"panic_runs": 1, "panic_exit_code": None, "panic_fault": None}
    answer = {
        "state": "halted",
        "since_ns": 0,
        "source": source,
        "reason": "kill signal",
        "halts": [],
        "stopped": [],
        "blockers": ["2 orders are unknown"],
        "latch": latch,
    }
    assert described(answer) == [
        "halted since 1970-01-01 00:00:00 by signal SIGUSR1 from uid 0, pid 77: kill signal",
        "not to be armed: 2 orders are unknown",
        "tickd panic was run 1 times, still runs",
    ]
    latch |= {"panic_exit_code": 1, "panic_fault": "no such file"}
    assert described(answer)[-2:] == [
        "tickd panic was run 1 times, ended with code 1",
        "tickd panic could not be run: no such file",
    ]


@pytest.mark.parametrize("operator", ["ada", "", "ada uid=0 pid=1", "two\nlines"])
async def test_who_killed_and_who_armed_is_on_record_as_the_kernel_knows_them(
    tmp_path: Path, operator: str
) -> None:
    records: list[dict[str, object]] = []
    made = joined(tmp_path, records)
    server = ControlServer(tmp_path, made.commands())
    await server.start()
    own = f"uid={os.geteuid()} pid={os.getpid()}"
    offer: Any = await ask(tmp_path, "risk_arm", operator="ada", reason="checked")
    answer: Any = await ask(tmp_path, "risk_confirm", token=offer["token"])
    assert (answer["source"]["name"], answer["source"]["uid"]) == ("ada", os.geteuid())
    assert f"from uid {os.geteuid()}, pid {os.getpid()}" in described(answer)[0]
    await ask(tmp_path, "risk_kill", scope="venue", key="okx", operator=operator)
    await ask(tmp_path, "risk_kill", operator=operator)
    assert select.select([made.word.fileno()], [], [], 20)[0]
    made.switch.on_bell()
    await server.stop()
    made.stop()
    assert [(each["action"], each["operator"]) for each in records] == [
        ("arm", "ada"),
        ("halt", operator),
        ("kill", operator),
    ]
    assert records[0]["source"] == own
    for each in records[1:]:
        assert str(each["source"]).endswith(own)


async def test_acknowledging_on_the_command_line_says_what_was_acknowledged(
    tmp_path: Path, command
) -> None:
    asked: list[dict[str, object]] = []

    async def acknowledge(request: Mapping[str, object]) -> object:
        asked.append(dict(request))
        return {"acknowledged": ["positions.json was damaged"]}

    server = ControlServer(tmp_path, {"risk_acknowledge": acknowledge})
    await server.start()
    words = ("--operator", "ada", "--reason", "looked")
    ended = await asyncio.to_thread(command, "risk", "acknowledge", tmp_path, *words)
    await server.stop()
    assert (ended.code, ended.out) == (0, "acknowledged: positions.json was damaged\n")
    assert (asked[0]["operator"], asked[0]["reason"]) == ("ada", "looked")
