"""`tickd inspect` over a small real raw log of two lives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tickd.app.exit_codes import ExitCode
from tickd.app.raw_view import RawView


def parsed(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_segments_are_listed_for_people_and_for_pipes(command, state_dir: Path) -> None:
    table = command("inspect", state_dir)
    assert table.code == 0
    names = [path.name for path in RawView(state_dir).paths()]
    assert len(names) >= 2
    assert [line.split()[0] for line in table.out.splitlines()[1:]] == names
    rows = parsed(command("inspect", state_dir / "raw", "--jsonl").out)
    assert [row["name"] for row in rows] == names
    assert all(row["sealed"] for row in rows)


def test_frames_are_in_order_and_bounded_by_from_and_to(command, state_dir: Path) -> None:
    frames = parsed(command("inspect", state_dir, "--frames", "--jsonl").out)
    numbers = [frame["frame_no"] for frame in frames]
    assert numbers == sorted(numbers)
    assert sum(frame["type"] == "W" for frame in frames) == 400
    first, last = numbers[50], numbers[60]
    some = command("inspect", state_dir, "--frames", "--from", first, "--to", last)
    assert [int(line.split()[0]) for line in some.out.splitlines()] == numbers[50:61]


def test_events_have_names_natural_numbers_and_a_topic_filter(command, state_dir: Path) -> None:
    trades = parsed(
        command("inspect", state_dir, "--events", "--jsonl", "--topic", "trade.*.AAAUSDT").out
    )
    assert trades
    for trade in trades:
        assert trade["topic"] == "trade.binance-usdm.AAAUSDT"
        assert trade["kind"] == "TRADE"
        assert trade["side"] == "A"
        assert trade["price"].endswith(".25")
        assert trade["seq"] == trade["frame_no"] << 16 | trade["index"]
    text = command("inspect", state_dir, "--events", "--topic", "trade.*.AAAUSDT", "--limit", 3)
    assert len(text.out.splitlines()) == 3
    assert "trade.binance-usdm.AAAUSDT kind=TRADE" in text.out


def test_one_segment_is_enough_for_its_own_events(command, state_dir: Path) -> None:
    every = parsed(command("inspect", state_dir, "--events", "--jsonl").out)
    by_segment = [
        event
        for path in RawView(state_dir).paths()
        for event in parsed(command("inspect", path, "--events", "--jsonl").out)
    ]
    assert by_segment == every


def test_damaged_segment_ends_with_3_and_shows_the_rest(command, state_dir: Path) -> None:
    path = RawView(state_dir).paths()[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    ended = command("inspect", state_dir, "--frames", "--jsonl")
    assert ended.code == ExitCode.DATA_LOSS
    assert 0 < sum(frame["type"] == "W" for frame in parsed(ended.out)) < 400


def test_pipe_that_closes_early_is_fine(state_dir: Path) -> None:
    inspect = [sys.executable, "-m", "tickd", "inspect", str(state_dir), "--frames"]
    with subprocess.Popen(inspect, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
