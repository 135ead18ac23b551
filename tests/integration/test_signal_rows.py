"""Signals through the whole daemon: ClickHouse holds what the raw log gives when computed again."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.harness.processes import Daemon, query, server, tickd, write_config
from tests.integration.test_signals import CONFIGS, VENUE, replay
from tickd.events import signal_values

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.proof,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(120),
]


def with_indicators(config: Path) -> Path:
    lines = []
    for each in CONFIGS:
        fields = msgspec.to_builtins(each)
        params = ", ".join(f"{key} = {value}" for key, value in fields.pop("params").items())
        lines += ["[[indicators]]", f"params = {{ {params} }}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    config.write_text(config.read_text() + "\n".join(lines) + "\n")
    return config


def test_clickhouse_holds_every_signal_once_and_verify_leaves_them_alone(tmp_path: Path) -> None:
    market = ("--rate", "1500", "--symbols", "2", "--seconds", "6", "--seed", "5")
    with server("sim", *market, log=tmp_path / "sim.log") as sim:
        venue = {
            "name": VENUE,
            "symbols": sim["symbols"][VENUE],
            "ws_url": sim["ws"][VENUE],
            "rest_url": sim["rest"][VENUE],
        }
        config = with_indicators(
            write_config(
                tmp_path / "tickd.toml",
                state_dir=tmp_path / "state",
                venues=[venue],
                sections={"sink": {"age_ms_max": 100}},
            )
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_until_quiet(frames_min=1_000)
            status = daemon.wait_for(
                lambda status: 0 < status["signals"]["signals"] == status["signals"]["stored"]
            )
            assert (status["signals"]["lost"], status["signals"]["undefined"]) == (0, 0)
            rows = query(
                config,
                "SELECT toString(seq) AS seq, indicator, reinterpretAsUInt64(value) AS bits, venue,"
                " symbol FROM signals ORDER BY signals.seq, indicator",
            )
            named = query(
                config,
                "SELECT name, kind, params, count() AS rows FROM signals_v"
                " GROUP BY name, kind, params ORDER BY name",
            )
            assert tickd("verify", str(config)).returncode == 0
            assert daemon.stop() == 0
    made = replay(tmp_path / "state" / "raw", size=None)
    want = [
        (int(event["seq"]), int(event["aux"]), int(bits))
        for event, bits in zip(made, signal_values(made).view(np.uint64), strict=True)
    ]
    assert [(int(row["seq"]), int(row["indicator"]), int(row["bits"])) for row in rows] == want
    assert {row["venue"] for row in rows} == {VENUE}
    assert {row["symbol"] for row in rows} == set(sim["symbols"][VENUE])
    assert [(row["name"], row["kind"], json.loads(row["params"])) for row in named] == sorted(
        (config.name, config.kind, config.params) for config in CONFIGS
    )
    assert sum(int(row["rows"]) for row in named) == len(rows)
