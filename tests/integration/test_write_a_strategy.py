"""docs/how-to/write-a-strategy.md: its code is run as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strategy_runner.config import StrategyConfig
from tests.harness.market_lines import write_capture

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/write-a-strategy.md").read_text()
BLOCKS = dict(re.findall(r"^```python\n# file: (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(text)
    write_capture(tmp_path / "capture.gz.txt", 4, 3_000)
    return tmp_path


def run(folder: Path, *words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tickd", "replay", str(folder / "capture.gz.txt"), *words],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("file", "kind", "decisions_min"),
    [("crossing.py", "Crossing", 20), ("quoting.py", "Quoting", 20), ("volumes.py", "Volumes", 20)],
)
def test_every_strategy_of_the_page_decides_and_does_not_fail(
    folder: Path, file: str, kind: str, decisions_min: int
) -> None:
    strategy = f"{folder}/{file}:{kind}"
    *lines, result = run(folder, "--strategy", strategy, "--decisions", "--json")
    report = result["strategies"][kind.lower()]
    assert (report["failures"], report["decisions"]) == (0, len(lines))
    assert len(lines) >= decisions_min


def test_the_commands_of_the_page_differ_by_their_parameters(folder: Path) -> None:
    commands = re.findall(r"^tickd replay capture.gz (--strategy .+)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    counts = []
    for command in commands:
        words = re.sub(r"crossing\.py", f"{folder}/crossing.py", command).split(" ", 3)
        parameters = re.findall(r"'(\{.+\})'", command)
        words = words[:2] + (["--params", parameters[0]] if parameters else [])
        counts.append(run(folder, *words, "--json")[-1]["strategies"]["crossing"]["decisions"])
    assert counts[0] != counts[1]


def test_the_table_of_the_page_is_valid() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (table,) = tomllib.loads(text)["strategies"]
    assert msgspec.convert(table, StrategyConfig).params == {"weight": 0.05}


def test_the_test_of_the_page_passes(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", "import test_crossing; test_crossing.test_no_trade_no_decision()"],
        check=True,
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}"},
        capture_output=True,
    )
