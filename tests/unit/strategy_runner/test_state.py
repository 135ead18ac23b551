"""What a strategy keeps: whole after a crash, refused when damaged, never an order number twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from strategy_runner.errors import StrategyError
from strategy_runner.state import ORDERS_RESERVED, State
from strategy_runner.strategy import Strategy
from tests.unit.strategy_runner.kit import Tape, World
from tickd.native import Trade


def test_values_come_back_and_a_file_is_written_only_for_a_change(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.state"
    state = State.load(path)
    assert dict(state) == {}
    state["fair"] = 60_000.5
    state["seen"] = [1, {"b": None}]
    state.save()
    first = path.stat().st_mtime_ns
    state.save()
    assert path.stat().st_mtime_ns == first
    again = State.load(path)
    assert dict(again) == {"fair": 60_000.5, "seen": [1, {"b": None}]}
    del again["fair"]
    again["seen"].append(2)  # a change inside a value is a change
    again.save()
    assert dict(State.load(path)) == {"seen": [1, {"b": None}, 2]}


def test_a_damaged_file_is_refused_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    state = State.load(path)
    state["key"] = "value"
    state.save()
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StrategyError, match="damaged"):
            State.load(path)
        path.write_bytes(whole[:at])
        with pytest.raises(StrategyError, match="damaged"):
            State.load(path)


def test_what_is_no_json_or_too_much_is_refused(tmp_path: Path) -> None:
    state = State.load(tmp_path / "a.state")
    state["set"] = {1}
    with pytest.raises(StrategyError, match="cannot be written down"):
        state.save()
    state["set"] = "x" * (1 << 20)
    with pytest.raises(StrategyError, match="at most"):
        state.save()
    assert not (tmp_path / "a.state").exists()


def test_an_order_number_is_never_given_twice_even_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    given: list[int] = []
    for _ in range(3):
        state = State.load(path)
        given += [state.next_order() for _ in range(5)]  # and then it is killed: nothing is saved
    assert given == [life * ORDERS_RESERVED + n for life in range(3) for n in range(1, 6)]
    state = State.load(path)
    state.orders_made = 4 * ORDERS_RESERVED - 1
    assert state.next_order() == 4 * ORDERS_RESERVED
    assert state.next_order() == 4 * ORDERS_RESERVED + 1
    assert State.load(path).next_order() == 5 * ORDERS_RESERVED + 1


class Remembering(Strategy):
    def on_start(self) -> None:
        self.context.decide("start", count=self.context.state.get("count", 0))

    def on_trade(self, trade: Trade) -> None:
        self.context.state["count"] = self.context.state.get("count", 0) + 1
        self.context.submit(trade.instrument, side="B", size=5)


def test_a_strategy_goes_on_where_it_was_and_its_beginning_is_on_record(tmp_path: Path) -> None:
    first = World(Remembering, state_dir=tmp_path).run(Tape().trade(1, 1).trade(2, 1).take())
    second = World(Remembering, state_dir=tmp_path).run(Tape().trade(3, 1).take())
    assert (first.said("start"), second.said("start")) == ([{"count": 0}], [{"count": 2}])
    begun = [world.records[0] for world in (first, second)]
    assert [(each["kind"], each["values"]) for each in begun] == [
        ("state", {}),
        ("state", {"count": 2}),
    ]
    ids = [each["client_id"] for each in second.records if each["kind"] == "intent"]
    assert ids == [second.owner(Remembering) << 32 | ORDERS_RESERVED + 1]
    # A replay begins with what is on record and decides the same.
    state = State(None, begun[1]["values"], begun[1]["orders_reserved"])
    third = World(Remembering, states={"remembering": state}).run(Tape().trade(3, 1).take())
    assert third.lines == second.lines


def test_a_strategy_with_a_damaged_state_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "remembering.state").write_bytes(b"nonsense")
    world = World(Remembering, state_dir=tmp_path).run(Tape().trade(1, 1).take())
    assert "is damaged" in dict(world.stopped)["remembering"]
    assert world.report(Remembering)["running"] is False
    assert (tmp_path / "remembering.state").read_bytes() == b"nonsense"
