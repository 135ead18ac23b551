"""`tickd ship` and `tickd restore` without a daemon: what they do, say and end with."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.reference import raw_log as reference
from tickd.app.exit_codes import ExitCode


@pytest.fixture
def config(tmp_path: Path, state_dir: Path) -> Path:
    path = tmp_path / "tickd.toml"
    path.write_text(f'[node]\nstate_dir = "{state_dir}"\n[ship]\nurl = "file://{tmp_path}/store"\n')
    return path


def test_ship_then_restore_gives_the_same_log(
    command, config: Path, state_dir: Path, tmp_path: Path
) -> None:
    planned = command("ship", config, "--dry-run")
    segments = sorted((state_dir / "raw" / "segments").iterdir())
    assert planned.code == 0
    assert [line.split()[1] for line in planned.out.splitlines()] == [
        f"segments/{path.name}" for path in segments
    ]
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())
    shipped = command("ship", config)
    assert shipped.code == 0
    assert shipped.out.startswith(f"{len(segments)} shipped")
    assert command("ship", config, "--verify").code == 0
    restored = command("restore", "--config", config, "--to", tmp_path / "new")
    assert restored.code == 0, restored.out + restored.err
    assert f"{len(segments)} restored" in restored.out
    assert reference.read_log(tmp_path / "new" / "raw") == reference.read_log(state_dir / "raw")


def test_a_state_directory_knows_its_node(command, state_dir: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/other"
    answer = command("ship", state_dir, "--url", url, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["shipped"] > 0
    (folder,) = (tmp_path / "other" / "tickd").iterdir()
    assert folder.name == "1"
    back = command(
        "restore", "--url", url, "--node", 1, "--to", tmp_path / "new", "--frames", "1-5", "--json"
    )
    assert back.code == 0
    report = json.loads(back.out)
    assert len(report["restored"]) == 1
    assert report["left"]
    only = command(
        "restore", "--url", url, "--node", 1, "--to", tmp_path / "newer", "--manifest", "--json"
    )
    assert json.loads(only.out)["manifest"] == "restored"
    assert not list((tmp_path / "newer" / "raw" / "segments").iterdir())


def test_restore_is_possible_where_a_killed_daemon_left_its_socket(
    command, config: Path, state_dir: Path
) -> None:
    assert command("ship", config).code == 0
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(state_dir / "control.sock"))
    victim = min((state_dir / "raw" / "segments").iterdir())
    content = victim.read_bytes()
    victim.unlink()
    back = command("restore", "--config", config, "--to", state_dir)
    assert back.code == 0, back.err
    assert victim.read_bytes() == content
    assert len(back.out.splitlines()) == 1  # piped lines are not wrapped at 80 columns


def test_a_tampered_object_ends_with_3(command, config: Path, tmp_path: Path) -> None:
    assert command("ship", config).code == 0
    victim = min((tmp_path / "store").rglob("*.tkraw"))
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    checked = command("ship", config, "--verify")
    assert checked.code == ExitCode.DATA_LOSS
    assert "is not what was shipped" in checked.out.replace("\n", " ")
    back = command("restore", "--config", config, "--to", tmp_path / "new")
    assert back.code == ExitCode.DATA_LOSS
    assert not (tmp_path / "new" / "raw" / "segments" / victim.name).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--node", "1"), "ship.url is not set"),
        (("--url", "file:///tmp"), "which node?"),
        (("--url", "ftp://x", "--node", "1"), "is not s3://"),
        (("--url", "memory://", "--node", "1", "--frames", "a-b"), "is not a-b"),
        (("--url", "memory://", "--node", "1", "--from", "yesterday"), "is no time"),
    ],
)
def test_restore_says_what_is_missing(
    command, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    ended = command("restore", "--to", tmp_path, *arguments)
    assert ended.code == ExitCode.BAD_CONFIG
    assert words in ended.err


def test_restore_from_an_empty_store_is_a_sentence(command, tmp_path: Path) -> None:
    ended = command("restore", "--to", tmp_path, "--url", "memory://", "--node", "1")
    assert ended.code == ExitCode.FAILED
    assert "holds no manifest of this node" in ended.err


def test_ship_without_a_store_says_how(command, state_dir: Path, tmp_path: Path) -> None:
    ended = command("ship", state_dir)
    assert ended.code == ExitCode.BAD_CONFIG
    assert "ship.url is not set" in ended.err
    ended = command("ship", tmp_path)
    assert "no raw log in" in ended.err


def test_times_select_segments(command, config: Path, state_dir: Path, tmp_path: Path) -> None:
    assert command("ship", config).code == 0
    arguments = ("restore", "--config", config, "--json", "--to")
    none = command(*arguments, tmp_path / "a", "--to-time", "2020-01-01")
    assert json.loads(none.out)["restored"] == []
    every = command(*arguments, tmp_path / "b", "--from", "2020-01-01T00:00:00+02:00")
    count = len(list((state_dir / "raw" / "segments").iterdir()))
    assert len(json.loads(every.out)["restored"]) == count
