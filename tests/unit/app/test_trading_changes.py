"""What a strategy asks of an order that is out, in the daemon: no wish is lost without a word."""

from __future__ import annotations

from pathlib import Path

from tests.harness.trading_world import World, living, text_of, until
from tickd.app.config import Config
from tickd.config import parse
from tickd.errors import TickdError


def narrow(directory: Path) -> Config:
    """Ten messages in two seconds: an order or a cancel each quarter of a second."""
    text = text_of(directory).replace(
        "messages_max = 100000\nwindow_ms = 1000", "messages_max = 10\nwindow_ms = 2000"
    )
    return parse(text.encode(), Config, source="tickd.toml")


async def resting(world: World, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        client_id = world.submit(price=9_900 + len(found))
        if "sent" in world.states(client_id):
            await world.state(client_id, "accepted")
            found.append(client_id)
        await world.quote("100.00", "100.10")
    return found


async def test_a_cancel_without_room_at_the_venue_happens_later_and_is_refused_on_record_once(
    tmp_path: Path,
) -> None:
    async with living(narrow(tmp_path)) as world:
        await world.ready()
        asked = await resting(world, 4)
        for client_id in asked:
            world.trading.ask({"kind": "cancel", "client_id": client_id})
        assert len(world.trading.router.table.open) == 4
        for client_id in asked:
            await world.state(client_id, "cancelled")
        for client_id in asked:
            told = [each["verdict"] for each in world.of("risk", client_id=client_id)]
            assert told[-1] == "approved"
            assert told.count("denied") <= 1
        refused = world.of("risk", action="cancel", verdict="denied")
        assert {each["reason"] for each in refused} == {"RATE_VENUE"}


async def test_a_person_is_told_that_the_cancel_need_not_be_repeated(tmp_path: Path) -> None:
    async with living(narrow(tmp_path)) as world:
        await world.ready()
        asked = await resting(world, 3)
        cancel = world.trading.commands()["order_cancel"]
        refs = [world.of("order", client_id=each)[-1]["ref"] for each in asked]
        refusals: list[TickdError] = []
        for ref in refs:
            try:
                await cancel({"ref": ref})
            except TickdError as error:
                refusals.append(error)
        assert refusals
        assert {error.hint for error in refusals} == {
            "it is asked for as soon as the venue's limit has room; nothing to repeat"
        }
        for client_id in asked:
            await world.state(client_id, "cancelled")


async def test_size_alone_is_replaced_at_the_price_that_the_order_has(tmp_path: Path) -> None:
    async with living(narrow(tmp_path)) as world:
        number = await world.ready()
        (client_id,) = await resting(world, 1)
        change = {"kind": "replace", "client_id": client_id, "price": None, "size": 400}

        def is_sent() -> bool:
            world.trading.ask(change)
            return "pending_replace" in world.states(client_id)

        await until(is_sent)
        await until(lambda: world.of("order", client_id=client_id)[-1]["order_size"] == 400)
        assert world.of("order", client_id=client_id)[-1]["order_price"] == 9_900
        assert world.trading.gate.position("one", "chaser", number) == (0, 400, 0)
        # The venue's limit had no room at first; the strategy heard of it.
        assert "RATE_VENUE" in {each["reason"] for each in world.of("order", client_id=client_id)}
