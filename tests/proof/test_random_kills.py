"""A hundred times `kill -9` at random moments under load, of ClickHouse too in some rounds.

A small daemon over one state directory: killed while it starts, recovers, runs, or stops. A failure
shows the seed of the moments.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.harness.clickhouse_server import ClickHouseServer, require
from tests.harness.crash import Node, Nursery, announced, drawn_seed, prove_log, prove_rows

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(600)]

KILLS = 100
PROOFS = 4
CLICKHOUSE_KILLS = 8
LIFE_S = 0.4
STOPPING_S = 0.08
# Of so many lives one counts from its start; the others from their first record on, however long
# a busy machine takes for it.
STARTING_EVERY = 4


def test_a_hundred_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    require("embedded")
    dice = random.Random(drawn_seed())
    outages = set(dice.sample(range(KILLS), CLICKHOUSE_KILLS))
    with (
        ClickHouseServer("embedded", tmp_path / "clickhouse") as server,
        Nursery(tmp_path) as nursery,
    ):
        node = Node(tmp_path / "node", nursery, clickhouse=server.settings())
        for number in range(KILLS):
            node.begin()
            if number % STARTING_EVERY:
                node.wait_for(lambda said: said.written > 0)
            time.sleep(dice.uniform(0, LIFE_S))  # the moment of death is what varies
            if number in outages:
                server.kill()
                time.sleep(dice.uniform(0, LIFE_S))
            if dice.random() < 0.2:
                nursery.signal(signal.SIGTERM)
                time.sleep(dice.uniform(0, STOPPING_S))
            node.kill()
            if number in outages:
                server.start()
            if (number + 1) % (KILLS // PROOFS) == 0:
                node.finish()
                prove_log(node)
                prove_rows(node, server)
        records = prove_log(node)
    assert len(announced(records)) > KILLS // 2, "so many kills and so few gaps"
    assert len(records) > KILLS * 100
