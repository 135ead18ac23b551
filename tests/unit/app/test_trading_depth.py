"""An account that trades what only `depth` is recorded of: the book is its price, while whole."""

from __future__ import annotations

from pathlib import Path

from tests.harness.trading_world import World, config_of, living, until


async def reason_of(world: World) -> str:
    """What becomes of a buy at 100.00 that rests."""
    client_id = world.submit(price=10_000)
    await until(lambda: world.states(client_id)[-1:] in (["accepted"], ["denied"]))
    return str(world.of("order", client_id=client_id)[-1]["reason"])


async def test_the_book_alone_prices_the_gate_while_it_is_whole(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        number = await world.define()
        await world.arm()
        await world.depth(first=10, last=12)
        assert await reason_of(world) == "MISSING_REFERENCE"
        await world.book(11, bid="99.80", ask="100.20")
        assert world.trading.gate.reference(number) == 10_000
        assert await reason_of(world) == ""
        await world.depth(first=13, last=13, bid="100.10", ask="100.15")
        assert world.trading.gate.reference(number) == 10_012
        await world.depth(first=15, last=15, bid="100.12")
        assert await reason_of(world) == "MISSING_REFERENCE"
        await world.book(15, bid="99.90", ask="100.20")
        assert await reason_of(world) == ""
        world.lose_depth()
        await until(lambda: world.trading.gate.reference(number) is None)
        assert await reason_of(world) == "MISSING_REFERENCE"


async def test_a_book_far_away_collars_what_is_asked_for(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.define()
        await world.arm()
        await world.depth(first=10, last=12, bid="89.00")
        await world.book(11, bid="89.90", ask="90.10")
        assert await reason_of(world) == "PRICE_COLLAR"
