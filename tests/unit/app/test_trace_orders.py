"""Orders, cancels and replaces on their way out: what strategies asked for is traced, as it went.

Over a real router on paper accounts; the stamps are those of the real clock.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from risk.errors import NotSentError
from risk.orders import Wanted
from tests.harness.trading_world import World, config_of, living
from tickd.app.strategy_answers import Answers
from tickd.app.tracing import Progress, Tracing
from tickd.app.tracing_config import TracingConfig
from tickd.app.tracing_parts import TracedBroker
from tickd.clock import SystemClock
from tickd.telemetry.traces import OrderStamps

SEQ = 7 << 16


class Deaf:
    """The paper account, whose line is down for changes as long as a test wants it."""

    is_deaf = False

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def is_up(self) -> bool:
        return bool(self._real.is_up)

    def cancel(self, order: Wanted) -> None:
        if self.is_deaf:
            raise NotSentError("the line is down")
        self._real.cancel(order)


class Traced:
    """A world that is traced as the daemon is, and what its strategy's process says."""

    def __init__(self, world: World) -> None:
        clock = SystemClock()
        self.world = world
        self.tracing = Tracing(
            TracingConfig(enabled=True, ratio=0.0),
            node=1,
            clock=clock,
            topic_name=str,
            progress=Progress(lambda: 0, lambda: 0, lambda: 0),
        )
        world.tap.on_control(self.tracing.orders.hear)
        record: Any = world.tap.note
        config = next(each for each in world.config.strategies if each.name == "chaser")
        self.answers = Answers([config], record, trade=world.trading.ask)
        self.answers.trade_with(self.tracing.orders.asking)
        brokers = world.trading.brokers
        brokers["one"] = TracedBroker(brokers["one"], self.tracing, clock.mono_ns)

    async def resting(self) -> int:
        client_id = self.world.submit(price=9_990)
        await self.world.state(client_id, "accepted")
        return client_id

    def ask(self, kind: str, client_id: int, **other: object) -> None:
        said = {"kind": kind, "strategy": "chaser", "client_id": client_id, "seq": SEQ}
        self.answers.take(json.dumps({**said, **other}).encode())

    @property
    def stamps(self) -> tuple[OrderStamps, ...]:
        return self.tracing.orders.within(7, 7)


async def test_a_cancel_and_a_replace_are_traced_up_to_their_writing(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        traced = Traced(world)
        client_id = await traced.resting()
        traced.ask("replace", client_id, price=9_980, size=2_000)
        await world.state(client_id, "pending_replace")
        assert traced.tracing.orders.take_causes() == [7]
        (replace,) = traced.stamps
        assert (replace.action, replace.strategy, replace.verdict) == (
            "replace",
            "chaser",
            "approved",
        )
        assert (replace.venue, replace.number) == ("binance-usdm", world.of("risk")[-1]["number"])
        times = (replace.asked_ns, replace.decided_ns, replace.send_ns, replace.sent_ns)
        assert 0 < times[0] <= times[1] <= times[2] <= times[3]
        await world.state(client_id, "accepted")
        traced.ask("cancel", client_id)
        cancel = traced.stamps[-1]
        assert (cancel.action, cancel.verdict) == ("cancel", "approved")
        assert 0 < cancel.decided_ns <= cancel.send_ns <= cancel.sent_ns
        await world.state(client_id, "cancelled")
        assert len(traced.stamps) == 2


async def test_a_denied_replace_was_decided_and_not_written(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        traced = Traced(world)
        client_id = await traced.resting()
        traced.ask("replace", client_id, price=9_990, size=11_000)
        (replace,) = traced.stamps
        assert (replace.verdict, replace.reason) == ("denied", "MAX_ORDER_QTY")
        assert replace.decided_ns > 0
        assert replace.sent_ns == 0


async def test_what_others_ask_for_is_not_the_strategys(tmp_path: Path) -> None:
    """A second cancel gets no answer; the one of a person that follows is his alone."""
    async with living(config_of(tmp_path), wrap={"one": Deaf}) as world:
        await world.ready()
        broker: Any = world.trading.brokers["one"]
        traced = Traced(world)
        client_id = await traced.resting()
        ref = world.of("order", client_id=client_id)[-1]["ref"]
        person = world.trading.commands()["order_cancel"]
        await person({"ref": ref})
        assert traced.stamps == ()
        traced.ask("cancel", client_id)  # is under way already
        await person({"ref": ref})
        (second,) = traced.stamps
        assert (second.decided_ns, second.sent_ns) == (0, 0)

        other = await traced.resting()
        broker.is_deaf = True
        traced.ask("cancel", other)
        broker.is_deaf = False
        assert "cancel" in {each["action"] for each in world.of("risk", client_id=other)}
        assert traced.stamps[-1].decided_ns > 0
        world.trading.router.cancel(other)
        await world.state(other, "cancelled")
        assert traced.stamps[-1].sent_ns == 0, "it did not leave; the next one was another's"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"kind":"start","note":"\\"kind\\":\\"cancel\\""}',
        b'{"kind":["x"],"of":{"kind":"cancel"}}',
        b'{"kind":"cancel","client_id":7,"strategy":"a"}',
        b'{"kind":"replace","client_id":7,"strategy":"a","seq":"x"}',
        b'{"kind":"risk","action":"cancel","verdict":"approved"}',
        b'{"kind":"cancel"',
    ],
)
async def test_what_is_no_change_is_passed_over(tmp_path: Path, payload: bytes) -> None:
    async with living(config_of(tmp_path)) as world:
        traced = Traced(world)
        traced.tracing.orders.hear(1, 0, payload)
        assert traced.tracing.orders.take_causes() == []
        assert traced.stamps == ()
