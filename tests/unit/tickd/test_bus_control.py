"""Control messages: one endpoint each, answers by correlation, before data."""

from __future__ import annotations

import asyncio

import pytest

from tickd.bus import Bus, HandlerFailure
from tickd.bus_control import Request
from tickd.bus_queue import WhenFull
from tickd.errors import Action, TickdError
from tickd.testing.batches import counted_batch
from tickd.testing.clock import ManualClock
from tickd.testing.loop import run_virtual


def new_bus(failures: list[HandlerFailure] | None = None) -> Bus:
    on_failure = failures.append if failures is not None else None
    return Bus(lambda number: f"trade.sim.S{number}", ManualClock(), on_failure=on_failure)


def test_message_goes_to_its_endpoint_only_and_at_once() -> None:
    bus = new_bus()
    heard: list[tuple[str, object]] = []
    bus.endpoints.handle("risk", lambda message: heard.append(("risk", message)))
    bus.endpoints.handle("log", lambda message: heard.append(("log", message)))
    bus.endpoints.send("risk", "halt")
    assert heard == [("risk", "halt")]


def test_unknown_and_taken_endpoints_are_refused() -> None:
    bus = new_bus()
    with pytest.raises(TickdError, match="no endpoint risk"):
        bus.endpoints.send("risk", "halt")
    bus.endpoints.handle("risk", print)
    with pytest.raises(TickdError, match="exists already"):
        bus.endpoints.mailbox("risk")
    bus.endpoints.close("risk")
    with pytest.raises(TickdError, match="no endpoint"):
        bus.endpoints.send("risk", "halt")


def test_control_sent_while_handling_runs_before_the_next_batch() -> None:
    bus = new_bus()
    order: list[object] = []
    bus.endpoints.handle("risk", order.append)

    def handler(topic: str, events: object) -> None:
        order.append(topic)
        if len(order) == 1:
            bus.publish(counted_batch(10, {7: 1}))  # data first, and yet behind
            bus.endpoints.send("risk", "halt")

    bus.handle("*", handler, name="handler")
    bus.publish_many([counted_batch(1, {1: 1}), counted_batch(20, {2: 1})])
    assert order == ["trade.sim.S1", "halt", "trade.sim.S7", "trade.sim.S2"]


def test_control_handler_may_publish_and_send_without_re_entrancy() -> None:
    bus = new_bus()
    order: list[str] = []

    def on_command(message: object) -> None:
        order.append(f"begin {message}")
        if message == "outer":
            bus.publish(counted_batch(1, {0: 1}))
            bus.endpoints.send("command", "inner")
        order.append(f"end {message}")

    bus.endpoints.handle("command", on_command)
    bus.handle("*", lambda topic, events: order.append("data"), name="data")
    bus.endpoints.send("command", "outer")
    assert order == ["begin outer", "end outer", "begin inner", "end inner", "data"]


def test_request_returns_the_handlers_answer_or_its_exception() -> None:
    async def main() -> None:
        bus = new_bus()

        def answer(message: object) -> object:
            if message == "bad":
                raise ValueError("no such symbol")
            return f"{message}!"

        bus.endpoints.handle("status", answer)
        assert await bus.endpoints.request("status", "hello", timeout_s=1) == "hello!"
        with pytest.raises(ValueError, match="no such symbol"):
            await bus.endpoints.request("status", "bad", timeout_s=1)

    run_virtual(main())


def test_answers_find_their_requests_by_correlation() -> None:
    async def main() -> None:
        bus = new_bus()
        box = bus.endpoints.mailbox("worker")

        async def answer_in_reverse() -> None:
            requests = [await box.receive() for _ in range(3)]
            assert len({each.correlation for each in requests}) == 3
            for each in reversed(requests):
                each.respond(f"re {each.message}")

        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(
                    bus.endpoints.request("worker", n, timeout_s=5), name=f"request {n}"
                )
                for n in range(3)
            ]
            group.create_task(answer_in_reverse(), name="worker")
        assert [each.result() for each in asked] == ["re 0", "re 1", "re 2"]

    run_virtual(main())


def test_request_without_answer_times_out_and_a_late_answer_is_counted() -> None:
    async def main() -> None:
        bus = new_bus()
        box = bus.endpoints.mailbox("worker")
        with pytest.raises(TickdError, match="no answer from worker") as caught:
            await bus.endpoints.request("worker", 1, timeout_s=2.5)
        assert caught.value.action is Action.RETRY
        assert asyncio.get_running_loop().time() == pytest.approx(2.5)
        (request,) = box.take_now()
        request.respond("late")
        request.respond("again")
        assert bus.endpoints.late_answers_count == 2

    run_virtual(main())


def test_failing_handler_of_a_plain_message_is_reported() -> None:
    failures: list[HandlerFailure] = []
    bus = new_bus(failures)

    def fail(message: object) -> object:
        raise ValueError(message)

    bus.endpoints.handle("risk", fail)
    bus.endpoints.send("risk", "x")
    assert [(each.name, str(each.error)) for each in failures] == [("risk", "x")]


def test_full_mailbox_is_said_to_the_asker() -> None:
    async def main() -> None:
        bus = new_bus()
        box = bus.endpoints.mailbox("worker", messages_max=2)
        bus.endpoints.send("worker", 1)
        bus.endpoints.send("worker", 2)
        with pytest.raises(TickdError, match="is full"):
            await bus.endpoints.request("worker", 3, timeout_s=1)
        assert [each.message for each in box.take_now()] == [1, 2]

    run_virtual(main())


def test_control_message_ends_a_consumers_wait_and_comes_before_data() -> None:
    async def main() -> None:
        bus = new_bus()
        box = bus.endpoints.mailbox("strategy")
        subscription = bus.subscribe(
            "*", name="strategy", when_full=WhenFull.DROP_OLDEST, controls=box
        )
        order: list[object] = []

        async def consume() -> None:
            while not subscription.closed:
                slices = await subscription.take()
                order.extend(each.message for each in box.take_now())
                order.extend(topic for topic, _ in slices)

        async with asyncio.TaskGroup() as group:
            group.create_task(consume(), name="strategy")
            await asyncio.sleep(1)
            bus.endpoints.send("strategy", "pause")
            await asyncio.sleep(1)
            bus.publish(counted_batch(1, {0: 1}))
            bus.endpoints.send("strategy", "stop")
            await asyncio.sleep(1)
            subscription.close()
        assert order == ["pause", "stop", "trade.sim.S0"]

    run_virtual(main())


def test_flood_of_control_messages_is_bounded() -> None:
    bus = new_bus()
    errors: list[TickdError] = []

    def flood(message: object) -> None:
        try:
            for _ in range(5000):
                bus.endpoints.send("flood", "more")
        except TickdError as error:
            errors.append(error)
            bus.endpoints.close("flood")

    bus.endpoints.handle("flood", flood)
    bus.endpoints.send("flood", "go")
    assert len(errors) == 1
    assert "4096 control messages" in str(errors[0])


def test_request_is_a_value_with_its_number() -> None:
    answers: list[tuple[int, object]] = []
    Request("x", 5, lambda number, answer: answers.append((number, answer))).respond(1)
    assert answers == [(5, 1)]
