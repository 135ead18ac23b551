"""The ledger over restarts: every execution once, whatever is left of its file.

Method: a ledger that goes on is the oracle of one that is restarted between any two executions. The
outbox is a list of executions; the gate is real.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import structs

from risk.gate import Gate
from risk.ledger import FILE, Ledger
from risk.limits import LimitConfig
from risk.order_facts import Fill
from risk.orders import AccountState, Request, Snapshot
from risk.outbox_format import Held
from risk.positions import DAY_NS, Key
from risk.recovery import Executed
from tests.harness.gates import ACCOUNT, STRATEGY, Desk, row
from tickd.errors import TickdError
from tickd.testing.clock import ManualClock

ABC, XYZ = 7, 9
MONEY = 10**8
DEFINITIONS = {
    number: json.dumps(
        {
            "venue": "sim",
            "symbol": symbol,
            "asset_class": "perpetual",
            "price_scale": 1,
            "size_scale": 2,
            "tick": 1,
            "lot": 1,
            "multiplier": "1",
        }
    ).encode()
    for number, symbol in ((ABC, "ABC"), (XYZ, "XYZ"))
}
# (instrument, side, price, size, fee, currency of the fee)
DEALS: tuple[tuple[int, Any, int, int, int, str], ...] = (
    (ABC, "B", 1000, 300, 5, ""),
    (ABC, "B", 1010, 100, 5, "USDT"),
    (XYZ, "A", 77, 33, -2, "USDT"),
    (ABC, "A", 1030, 250, 5, "BNB"),
    (ABC, "A", 990, 500, 7, "USDT"),
    (XYZ, "B", 78, 33, 1, "USDT"),
    (ABC, "B", 985, 349, 3, "BNB"),
)


def executed(deals: tuple[tuple[int, Any, int, int, int, str], ...]) -> list[Executed]:
    clock = ManualClock()
    return [
        Executed(
            Request(
                client_id=at,
                strategy="ofi" if at % 2 else "mm",
                account="main",
                instrument=instrument,
                venue="sim",
                symbol="ABC" if instrument == ABC else "XYZ",
                side=side,
                price=price,
                size=size,
            ),
            at,
            clock.wall_ns() + at * DAY_NS // 3,
            Fill(f"E{at}", price, size, 0, fee, currency, None),
        )
        for at, (instrument, side, price, size, fee, currency) in enumerate(deals, 1)
    ]


def held_by(known: list[Executed]) -> list[Held]:
    sizes: dict[tuple[str, str, int], tuple[str, int]] = {}
    for each in known:
        request = each.request
        key = (request.account, request.strategy, request.instrument)
        signed = each.fill.size if request.side == "B" else -each.fill.size
        sizes[key] = (request.symbol, sizes.get(key, ("", 0))[1] + signed)
    return [Held(*key, symbol, size) for key, (symbol, size) in sizes.items()]


def made(
    folder: Path,
    *,
    defined: bool = True,
    gate: Gate | None = None,
    clock: ManualClock | None = None,
) -> Ledger:
    gate = gate or Desk("numpy").gate
    currencies = {"main": "USDT"}
    ledger = Ledger(currencies, gate=gate, directory=folder, clock=clock or ManualClock())
    for number, definition in DEFINITIONS.items() if defined else ():
        gate.define(number, definition)
        ledger.define(number, definition)
    return ledger


def folded(ledger: Ledger) -> dict[str, Any]:
    return {
        "rows": sorted(tuple(row.__rich_repr__()) for row in ledger.positions.kept().rows),
        "drawn": ledger.draw("main"),
        "foreign": ledger.foreign_fees,
        "days": ledger.positions.day_pnl_by_strategy("main"),
    }


def existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def kept(folder: Path, known: list[Executed]) -> Ledger:
    ledger = made(existing(folder))
    ledger.recover(known)
    await ledger.keep(at_once=True)
    assert ledger.fault is None
    return ledger


async def test_a_restart_between_any_two_executions_changes_nothing(tmp_path: Path) -> None:
    whole = executed(DEALS)
    straight = made(tmp_path)
    straight.recover(whole)
    assert folded(straight)["foreign"] == {"main BNB": 8}, "no rate: in no sum"
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        await kept(folder, whole[:cut])
        again = made(folder)
        # The outbox still knows all of them, those that the file has, too.
        again.recover(whole, held_by(whole))
        assert folded(again) == folded(straight), cut
        for each in whole:
            again.fill(each.request, each.number, each.fill)
        assert folded(again) == folded(straight), cut


async def test_definitions_are_in_the_file_for_a_start_that_has_heard_of_none(
    tmp_path: Path,
) -> None:
    before = await kept(tmp_path, executed(DEALS))
    again = made(tmp_path, defined=False)
    again.recover([])
    assert folded(again) == folded(before)


async def test_a_file_cut_at_any_byte_is_a_fault_and_sizes_come_from_the_outbox(
    tmp_path: Path,
) -> None:
    whole = executed(DEALS)
    await kept(tmp_path, whole)
    content = (tmp_path / FILE).read_bytes()
    sizes = {
        Key(each.account, each.strategy, each.instrument): each.size for each in held_by(whole)
    }
    for cut in range(len(content)):
        (tmp_path / FILE).write_bytes(content[:cut])
        ledger = made(tmp_path)
        ledger.recover(whole[3:], held_by(whole))
        assert ledger.fault is not None, cut
        assert FILE in ledger.fault
        assert {key: held.size for key, held in ledger.positions.items()} == sizes, cut


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"version":1', b'"version":2'),
        (b'"definitions":{', b'"definitions":{"x":1,'),
        (b'"77', b'"7y'),
        (b'"-', b'"--'),
    ],
)
async def test_a_file_with_another_byte_is_never_half_believed(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    """What was believed of a damaged file would be counted a second time from the outbox."""
    whole = executed(DEALS)
    oracle = await kept(tmp_path, whole)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.replace(before, after, 1))
    ledger = made(tmp_path)
    ledger.recover(whole, held_by(whole))
    assert folded(ledger) == folded(oracle)


async def test_a_number_that_is_none_in_the_last_row_leaves_no_row_behind(tmp_path: Path) -> None:
    whole = executed(DEALS)
    await kept(tmp_path, whole)
    file = json.loads((tmp_path / FILE).read_bytes())
    file["positions"]["rows"][-1][4] = "many"
    (tmp_path / FILE).write_text(json.dumps(file))
    ledger = made(tmp_path)
    ledger.recover(whole, held_by(whole))
    assert ledger.fault is not None
    oracle = made(tmp_path / "none")
    oracle.recover(whole)
    assert folded(ledger) == folded(oracle)


async def test_what_has_no_known_cost_earns_from_the_next_price_on(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    ledger.recover([], [Held("main", "ofi", ABC, "ABC", -300)])
    assert ledger.draw("main")["unrealised"] == 0
    await ledger.keep(at_once=True)
    # A restart before any price came: still no cost, and not counted twice.
    gate = Desk("numpy").gate
    ledger = made(tmp_path, gate=gate)
    ledger.recover([], [Held("main", "ofi", ABC, "ABC", -300)])
    gate.quote(ABC, bid=1000, ask=1002, mono_ns=1)
    ledger.value()
    assert ledger.day_pnl("main") == 0
    gate.quote(ABC, bid=900, ask=902, mono_ns=2)
    ledger.value()
    # 3.00 sold at 100.1, worth 90.1 now.
    assert ledger.day_pnl("main") == 30 * MONEY


async def test_a_fill_of_what_has_no_cost_realises_nothing_invented(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    ledger.recover([], [Held("main", "mm", ABC, "ABC", -300)])
    (deal,) = executed(((ABC, "B", 1000, 300, 0, ""),))
    ledger.fill(structs.replace(deal.request, strategy="mm"), deal.number, deal.fill)
    position = ledger.positions.position(Key("main", "mm", ABC))
    assert position is not None
    assert (position.size, position.cost, position.realised) == (0, 0, 0)


def test_a_new_day_begins_at_nothing_and_the_gate_is_told(tmp_path: Path) -> None:
    clock = ManualClock()
    ledger = made(tmp_path, clock=clock)
    whole = (ABC, "B", 1000, 100, 0, ""), (XYZ, "B", 1, 1, 0, ""), (ABC, "A", 900, 100, 0, "")
    for each in executed(whole):
        ledger.fill(each.request, each.number, each.fill)
    assert ledger.day_pnl("main") == -10 * MONEY
    clock.move(DAY_NS)
    ledger.value()
    assert ledger.day_pnl("main") == 0
    assert ledger.draw("main")["realised"] == -10 * MONEY


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_strategy_that_never_traded_has_lost_nothing_on_any_day(
    tmp_path: Path, backend: Literal["native", "numpy"]
) -> None:
    desk = Desk(backend, row(), LimitConfig(strategy=STRATEGY, daily_loss_max="1"))
    assert desk.reason() == "MISSING_ACCOUNT", "nobody has told"
    clock = ManualClock()
    ledger = Ledger(
        {ACCOUNT: "USD"},
        gate=desk.gate,
        directory=tmp_path,
        clock=clock,
        strategies={STRATEGY: ACCOUNT, "poor": ""},
    )
    ledger.recover([])
    assert desk.reason() == "-"
    clock.move(DAY_NS)
    ledger.value()
    assert desk.reason(size=2) == "-"


def equity_told(ledger: Ledger, equity: int) -> None:
    state = AccountState(currency="USDT", equity=equity, free=equity)
    said: dict[str, Any] = {"is_healthy": True, "orders": (), "fills": (), "positions": ()}
    ledger.snapshot("main", Snapshot(asked_mono_ns=1, account=state, **said))


@pytest.mark.parametrize("backend", ["native", "numpy"])
async def test_the_highest_equity_survives_a_restart_until_a_person_lets_it_go(
    tmp_path: Path, backend: Literal["native", "numpy"]
) -> None:
    first = made(tmp_path, gate=Desk(backend, is_funded=False).gate)
    first.recover([])
    with pytest.raises(TickdError, match="has told no equity yet"):
        first.forget_peak("main")
    equity_told(first, 9 * MONEY)
    equity_told(first, 8 * MONEY)
    await first.keep(at_once=True)

    gate = Desk(backend, is_funded=False).gate
    again = made(tmp_path, gate=gate)
    again.recover([])
    assert gate.peak("main") == 9 * MONEY, "before anything is told"
    equity_told(again, 5 * MONEY)
    assert (gate.peak("main"), again.draw("main")["peak"]) == (9 * MONEY, 9 * MONEY)
    assert again.forget_peak("main") == (9 * MONEY, 5 * MONEY)
    await again.keep(at_once=True)

    gate = Desk(backend, is_funded=False).gate
    made(tmp_path, gate=gate).recover([])
    assert gate.peak("main") == 5 * MONEY


@pytest.mark.parametrize(
    ("peaks", "is_fault"), [(None, False), ({"main": 1 << 63}, True), ({"gone": 7}, False)]
)
async def test_files_of_older_builds_and_with_numbers_that_no_gate_takes(
    tmp_path: Path, peaks: dict[str, int] | None, *, is_fault: bool
) -> None:
    await kept(tmp_path, executed(DEALS))
    file = json.loads((tmp_path / FILE).read_bytes())
    if peaks is None:
        del file["peaks"]
    else:
        file["peaks"] = peaks
    (tmp_path / FILE).write_text(json.dumps(file))
    gate = Desk("native", is_funded=False).gate
    ledger = made(tmp_path, gate=gate)
    ledger.recover([])
    assert (ledger.fault is not None, gate.peak("main")) == (is_fault, None)
    assert bool(ledger.draw("main")["positions"]) is not is_fault


def test_a_definition_that_cannot_be_read_takes_nothing_down(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    ledger.define(11, DEFINITIONS[ABC].replace(b'"multiplier": "1"', b'"multiplier": "1e5"'))
    (deal,) = executed(((11, "B", 1000, 300, 0, ""),))
    ledger.fill(deal.request, deal.number, deal.fill)
    assert list(ledger.positions.items()) == []


async def test_a_disk_that_refuses_is_a_fault_and_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "risk"
    folder.write_text("a file where a folder should be")
    clock = ManualClock()
    ledger = made(folder, clock=clock)
    for each in executed(DEALS):
        ledger.fill(each.request, each.number, each.fill)
    await ledger.keep()
    assert ledger.fault is not None
    folder.unlink()
    folder.mkdir()
    await ledger.keep()
    assert ledger.fault is not None, "once a second, no more"
    clock.move(2 * 10**9)
    await ledger.keep()
    assert ledger.fault is None
    again = made(folder)
    again.recover([])
    assert folded(again)["rows"] == folded(ledger)["rows"]


def test_the_record_of_an_account_is_what_the_venue_and_the_fold_say(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    assert ledger.record("main")["equity"] is None
    state = AccountState(currency="USDT", equity=5 * MONEY, free=4 * MONEY, margin_used=MONEY)
    said = {"is_healthy": True, "orders": (), "fills": (), "positions": ()}
    ledger.snapshot("main", Snapshot(asked_mono_ns=1, account=state, **said))
    for each in executed(DEALS[:1]):
        ledger.fill(each.request, each.number, each.fill)
    record = ledger.record("main")
    assert (record["equity"], record["free"], record["margin_used"]) == (
        5 * MONEY,
        4 * MONEY,
        MONEY,
    )
    assert record["positions"] == [
        {"strategy": "ofi", "instrument": ABC, "symbol": "ABC", "size": 300}
    ]


def many(count: int) -> list[Executed]:
    return executed(((ABC, "B", 1000, 1, 0, ""),) * count)


async def test_a_restart_folds_nothing_twice_however_much_the_outbox_has(tmp_path: Path) -> None:
    whole = many((1 << 16) + 8)
    await kept(tmp_path, whole)
    again = made(tmp_path)
    again.recover(whole, held_by(whole))
    assert sum(held.fills for _, held in again.positions.items()) == len(whole)
    assert sum(held.size for _, held in again.positions.items()) == len(whole)


async def test_names_go_when_no_file_of_the_outbox_can_have_them(tmp_path: Path) -> None:
    whole = many(6)
    ledger = made(tmp_path)
    for files, each in enumerate(whole):
        ledger.follow(files)
        ledger.fill(each.request, each.number, each.fill)
    await ledger.keep(at_once=True)
    names = json.loads((tmp_path / FILE).read_bytes())["folded"]
    assert names == [[each.number, each.fill.exec_id] for each in whole[3:]]


async def test_what_the_outbox_lost_is_taken_away_and_counts_when_it_comes_again(
    tmp_path: Path,
) -> None:
    whole = executed(DEALS)
    await kept(tmp_path, whole)
    again = made(tmp_path)
    again.recover(whole[:-1], held_by(whole[:-1]))
    last = whole[-1]
    again.fill(last.request, last.number, last.fill)
    sizes = {key: held.size for key, held in again.positions.items()}
    expected = {
        Key(each.account, each.strategy, each.instrument): each.size for each in held_by(whole)
    }
    assert sizes == expected
    # And once only, over another restart.
    await again.keep(at_once=True)
    third = made(tmp_path)
    third.recover(whole, held_by(whole))
    assert {key: held.size for key, held in third.positions.items()} == expected


async def test_while_a_file_is_written_fills_go_on_and_are_not_in_it(tmp_path: Path) -> None:
    whole = many(1_500)
    ledger = await kept(tmp_path, whole[:1_100])
    ledger.fill(whole[1_100].request, whole[1_100].number, whole[1_100].fill)
    writing = asyncio.create_task(ledger.keep(at_once=True))
    await asyncio.sleep(0)
    for each in whole[1_101:]:
        ledger.fill(each.request, each.number, each.fill)
    await writing
    file = json.loads((tmp_path / FILE).read_bytes())
    assert len(file["folded"]) == sum(row[7] for row in file["positions"]["rows"]) == 1_101
    again = made(tmp_path)
    again.recover(whole)
    assert sum(held.fills for _, held in again.positions.items()) == 1_500
