"""Writes the dashboards' JSON, or says which committed file is not what the code gives.

Usage: `python -m dashboards.build` writes; with `--check` it only compares (exit code 1).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import feeds, market, overview, recorder, risk, runtime, slo, strategies
from dashboards.board import Board, built

__all__ = ["BOARDS", "GENERATED", "generated", "main"]

GENERATED: Final = Path(__file__).parent / "generated"
BOARDS: Final[tuple[Callable[[], Board], ...]] = (
    overview.board,
    feeds.board,
    recorder.board,
    strategies.board,
    risk.board,
    slo.board,
    runtime.board,
    market.board,
)


def generated() -> dict[str, str]:
    """Return file name -> text of every dashboard."""
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    boards = [make() for make in BOARDS]
    return {f"{board.name}.json": encoder.encode(built(board)) + "\n" for board in boards}


def differing() -> list[str]:
    """Return the names of committed files that are missing, superfluous or not what they should."""
    wanted = generated()
    there = {path.name: path.read_text() for path in GENERATED.glob("*.json")}
    return sorted(name for name in wanted.keys() | there if wanted.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    if arguments == ["--check"]:
        for name in differing():
            sys.stderr.write(f"{name} is not what dashboards/ gives: python -m dashboards.build\n")
        return 1 if differing() else 0
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    GENERATED.mkdir(exist_ok=True)
    for path in GENERATED.glob("*.json"):
        path.unlink()
    for name, text in generated().items():
        json.loads(text)
        (GENERATED / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
