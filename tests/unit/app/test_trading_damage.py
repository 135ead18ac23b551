"""What is out and was forgotten: nobody arms beside it, whatever became of the outbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from risk.errors import ArmError
from risk.orders import Snapshot, VenueOrder, Wanted
from tests.harness.trading_world import SYMBOL, World, config_of, living, until

# A clean end that leaves what is open, as a crash does.
LEAVES = """
[risk]
cancel_at_stop = false
"""
# Of the header, and of the first record's payload.
HEADER_AT, RECORD_AT = 9, 96


class Remembering:
    """The paper account, and an order of the life before, until it is cancelled."""

    def __init__(self, real: Any, ref: str) -> None:
        self._real = real
        self.order = VenueOrder(
            ref=ref,
            venue_id="P1",
            symbol=SYMBOL,
            side="B",
            price=9_900,
            size=9_000,
            cum_size=0,
            is_open=True,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def cancel(self, wanted: Wanted) -> None:
        if wanted.ref != self.order.ref:
            self._real.cancel(wanted)
        else:
            self.order = msgspec.structs.replace(self.order, is_open=False, end="cancelled")

    async def snapshot(self) -> Snapshot:
        told = await self._real.snapshot()
        return msgspec.structs.replace(told, orders=(*told.orders, self.order))


def spoil(folder: Path, how: str) -> None:
    (path,) = (folder / "risk" / "outbox").glob("*.tob")
    if how == "deleted":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[HEADER_AT if how == "header" else RECORD_AT] ^= 1
    path.write_bytes(data)


async def acknowledge(world: World) -> None:
    command = world.trading.commands()["risk_acknowledge"]
    await command({"operator": "ada", "reason": "compared with the venue's page"})


@pytest.mark.parametrize("how", ["record", "header", "deleted"])
async def test_an_order_that_a_spoilt_outbox_forgot_holds_up_arming_until_it_is_gone(
    tmp_path: Path, how: str
) -> None:
    config = config_of(tmp_path, more=LEAVES)
    async with living(config) as world:
        await world.ready()
        client_id = world.submit(price=9_900, size=9_000)
        await world.state(client_id, "accepted")
        order = world.trading.router.table.of_client(client_id)
        assert order is not None
        await world.state(world.submit(price=9_901), "accepted")
    spoil(tmp_path, how)
    wrap = {"one": lambda real: Remembering(real, order.ref)}
    async with living(config, wrap=wrap) as world:
        await world.quote("100.00", "100.10")
        switch = world.halting.switch
        named = f"one: order {order.ref} in {SYMBOL} is ours, open at the venue and not known here"
        await until(lambda: any(named in each for each in switch.blockers()))
        with pytest.raises(ArmError, match=f"order {order.ref} in {SYMBOL} is ours"):
            switch.arm("ada", "looks well")
        # What the sentence says helps.
        switch.trip("cancel it", source="operator ada")
        await until(lambda: not any(named in each for each in switch.blockers()))
        assert not world.trading.brokers["one"].order.is_open  # type: ignore[attr-defined]
        if how != "deleted":
            await acknowledge(world)
        await world.arm()


async def test_a_damaged_outbox_holds_up_arming_over_restarts_until_a_person_has_looked(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        await world.ready()
        for _ in range(3):
            client_id = world.submit(price=9_900)
            await world.state(client_id, "accepted")
    spoil(tmp_path, "record")
    for life in range(2):
        async with living(config) as world:
            await world.quote("100.00", "100.10")
            switch = world.halting.switch
            await until(lambda: len(switch.blockers()) == 1)  # noqa: B023 - awaited here
            assert "outbox-00000001.damaged" in switch.blockers()[0]
            with pytest.raises(ArmError, match="tickd risk acknowledge"):
                switch.arm("ada", "looks well")
            assert world.trading.alerts == {"OUTBOX_DAMAGED": 1}, f"life {life}"
    async with living(config) as world:
        world.asked["chaser"] = world.updates = 100  # numbers are never used again
        await world.quote("100.00", "100.10")
        await until(lambda: len(world.halting.switch.blockers()) == 1)
        await acknowledge(world)
        (audit,) = world.of("audit", action="acknowledge")
        assert (audit["operator"], audit["source"]) == ("ada", "outbox")
        await world.arm()
        await world.state(world.submit(price=9_900), "accepted")
    async with living(config) as world:
        await world.quote("100.00", "100.10")
        await world.arm()
    (kept,) = (tmp_path / "risk" / "outbox").glob("outbox-00000001.damaged-*")
    assert kept.stat().st_size


async def test_one_acknowledgement_is_of_everything_that_is_damaged(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with living(config) as world:
        await world.ready()
        for _ in range(2):
            await world.state(world.submit(price=9_900), "accepted")
    spoil(tmp_path, "record")
    (tmp_path / "risk" / "positions.json").write_bytes(b"{")
    async with living(config) as world:
        await world.quote("100.00", "100.10")
        await until(lambda: len(world.halting.switch.blockers()) == 2)
        await acknowledge(world)
        sources = [each["source"] for each in world.of("audit", action="acknowledge")]
        assert sources == ["positions", "outbox"]
        await world.arm()
