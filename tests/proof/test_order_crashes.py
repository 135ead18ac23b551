"""The crash matrix of orders: a real `kill -9` at every place, then what a restart makes of it.

Method: `tests/servers/order_life.py` dies on the way of its second order; the files that it left,
and a venue that has exactly the orders whose lines are whole, are given to a new router. No power
is cut here: what that may take is the matter of `disk` in tests/unit/risk/test_outbox.py.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from risk.order_facts import State
from risk.order_numbers import BLOCK_NUMBERS
from tests.harness.gates import ACCOUNT
from tests.harness.order_world import World
from tests.harness.processes import REPOSITORY
from tests.harness.venue_model import Listed
from tests.reference.outbox import read_outbox

pytestmark = pytest.mark.proof

A, B = 1, 2
# place -> what a restart says of B, and what evidence makes of it.
MATRIX = {
    "append.before": (None, None),
    "append.torn": (None, None),
    "append.after": (State.UNKNOWN, State.REJECTED),
    "send.middle": (State.UNKNOWN, State.REJECTED),
    "send.after": (State.UNKNOWN, State.ACKED),
    "outcome.before": (State.UNKNOWN, State.ACKED),
    "outcome.after": (State.ACKED, State.ACKED),
}


def dies(folder: Path, durability: str, place: str) -> None:
    command = [sys.executable, "-m", "tests.servers.order_life", str(folder), durability, place]
    life = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert life.returncode == -signal.SIGKILL, life.stderr


def load_venue(world: World) -> None:
    lines = (world.folder / "venue.jsonl").read_bytes().split(b"\n")
    for at, line in enumerate(lines[:-1], 1):
        listed = Listed(venue_id=f"V{at}", **json.loads(line))
        world.venue.orders[listed.venue_id] = listed


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("place", MATRIX)
def test_killed_anywhere_the_order_comes_back_as_specified(
    tmp_path: Path, place: str, durability: str
) -> None:
    dies(tmp_path, durability, place)
    at_restart, in_the_end = MATRIX[place]
    with World(tmp_path, durability=durability) as world:
        load_venue(world)
        assert (world.recovered.torn_bytes > 0) is (place == "append.torn")
        assert not world.recovered.is_damaged
        assert world.order(A).state is State.ACKED
        found = world.router.table.of_number(B)
        assert (found and found.state) == at_restart
        # What may be out is reserved before anybody asks.
        assert world.exposure() == (0, 10 if at_restart is None else 20, 0)
        assert world.router.reconciler.problems()
        world.settle()
        assert (found and found.state) == in_the_end
        reserved = 20 if in_the_end is State.ACKED else 10
        assert world.exposure() == (0, reserved, 0)
        assert world.router.reconciler.problems() == []
        assert not world.venue.sent, "something was sent again"
        assert world.numbers.next > B, "a number would come twice"


@pytest.mark.parametrize("place", MATRIX)
def test_recovery_of_the_same_files_is_the_same_twice(tmp_path: Path, place: str) -> None:
    dies(tmp_path, "process", place)
    seen = []
    for _ in range(2):
        with World(tmp_path) as world:
            orders = {
                order.number: (order.state, order.filled, order.venue_id, order.leaves)
                for order in world.router.orders()
            }
            seen.append((orders, world.exposure()))
    assert seen[0] == seen[1]


def test_numbers_go_on_even_where_the_outbox_was_taken_away(tmp_path: Path) -> None:
    dies(tmp_path, "process", "append.before")
    lowest = B + 1
    for _ in range(3):
        with World(tmp_path) as world:
            assert world.numbers.next >= lowest
            lowest = world.numbers.take() + 1
        for path in (tmp_path / "outbox").iterdir():
            path.unlink()
    assert lowest > 2 * BLOCK_NUMBERS


def test_what_was_left_reads_back_independently(tmp_path: Path) -> None:
    dies(tmp_path, "process", "outcome.after")
    (path,) = (tmp_path / "outbox").glob("*.tob")
    read = read_outbox(path)
    assert [each[0] for each in read.payloads] == [1, 4, 1, 4]
    assert [each[1] for each in read.payloads] == [A, A, B, B]
    assert read.torn_bytes == 0
    with World(tmp_path):
        assert ACCOUNT in read.payloads[0]
