"""`tickd panic --after-end`: who is asked after an end of the unit, and who is spared.

Method: the decision as a table; the command with an account at a port where nobody listens, with
systemd's variables and a latch file as the daemon writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from risk.latch import Latch, Source, encode
from tests.unit.app.test_panicking import BINANCE, file_of
from tickd.app.after_end import PANIC, Tried, Word, spare
from tickd.app.exit_codes import ExitCode

S = 10**9
NOW = 1_000_000 * S
HALTED, ARMED, NONE, LOST = (
    Word("R1", armed=False),
    Word("R1", armed=True),
    Word("", armed=False),
    Word("", armed=True),
)


def tried(ago_s: float, *, empty: bool, latch: str = "R1") -> Tried:
    return Tried(at_ns=NOW - int(ago_s * S), latch=latch, empty=empty)


@pytest.mark.parametrize(
    ("before", "word", "ran", "asked"),
    [
        # Never asked before.
        (None, NONE, False, False),  # a file that is refused on a new machine
        (None, HALTED, False, False),
        (None, ARMED, False, True),  # a power cut while armed, then a start that fails
        (None, LOST, False, True),  # a latch that is damaged
        (None, HALTED, True, True),
        # Found empty.
        (tried(5, empty=True), HALTED, True, False),  # a daemon that dies again and again
        (tried(599, empty=True), HALTED, True, False),
        (tried(600, empty=True), HALTED, True, True),
        (tried(-1, empty=True), HALTED, True, True),  # the clock was set back
        (tried(5, empty=True), ARMED, True, True),
        (tried(5, empty=True, latch="R0"), HALTED, True, True),  # armed and halted in between
        (tried(9_999, empty=True), HALTED, False, False),  # a file that is refused, for hours
        (tried(9_999, empty=True), ARMED, False, False),  # likewise after a crash while armed
        (tried(5, empty=True, latch="R0"), HALTED, False, True),
        # Not found empty.
        (tried(5, empty=False), HALTED, True, False),
        (tried(5, empty=False), HALTED, False, False),
        (tried(120, empty=False), HALTED, True, True),
        (tried(120, empty=False), HALTED, False, True),
        (tried(5, empty=False), ARMED, True, True),
        (tried(5, empty=False, latch="R0"), HALTED, True, True),
    ],
)
def test_who_is_asked(before: Tried | None, word: Word, ran: bool, asked: bool) -> None:
    spared = spare(before, word, ran=ran, now_ns=NOW)
    assert (spared is None) == asked
    if spared is not None:
        assert spared.empty == (before is None or before.empty)


def write_latch(directory: Path, *, armed: bool, wall_ns: int) -> None:
    latch = Latch(
        state="armed" if armed else "halted",
        epoch=1,
        reason="",
        source=Source(kind="daemon", name="start"),
        wall_ns=wall_ns,
        mono_ns=1,
        boot_id="",
        config="",
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latch.json").write_bytes(encode(latch))


def test_record_changes_with_each_arming_and_not_with_a_start(tmp_path: Path) -> None:
    assert Word.of(tmp_path) == NONE
    write_latch(tmp_path, armed=False, wall_ns=1)
    first = Word.of(tmp_path)
    assert first.record
    assert not first.armed
    write_latch(tmp_path, armed=True, wall_ns=2)
    assert Word.of(tmp_path).armed
    assert Word.of(tmp_path).record != first.record
    (tmp_path / "latch.json").write_bytes(b"{")
    assert Word.of(tmp_path) == LOST


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVICE_RESULT", "exit-code")
    monkeypatch.delenv("EXIT_CODE", raising=False)
    for name in ("key", "secret"):
        (tmp_path / name).write_text("a-key-of-nobody")
        (tmp_path / name).chmod(0o600)
    return file_of(tmp_path, BINANCE)


def test_start_that_failed_asks_nobody(tmp_path: Path, file: Path, command: Any) -> None:
    ended = command("panic", "--cancel-all", "--after-end", file)
    assert ended.code == ExitCode.OK, ended.err
    assert ended.out == "usdm: not asked: the daemon did not run, and was not armed before\n"
    assert not (tmp_path / "state").exists()


def test_loop_of_crashes_asks_once_and_a_new_arming_again(
    tmp_path: Path, file: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXIT_CODE", "killed")
    risk = tmp_path / "state" / "risk"
    write_latch(risk, armed=False, wall_ns=1)
    ended = command("panic", "--cancel-all", "--after-end", file)
    assert "COULD NOT ASK" in ended.out or "ORDERS ARE LEFT" in ended.out
    noted = msgspec.json.decode((risk / PANIC).read_bytes(), type=dict[str, Tried])
    assert [noted["usdm"].empty, *noted] == [False, "usdm"]
    again = command("panic", "--cancel-all", "--after-end", file)
    assert again.code == ExitCode.FAILED, "nobody knows that nothing is left"
    assert "usdm: not asked: something was left, or nobody answered, " in again.out
    # By hand, and without systemd's word, it always asks.
    assert "not asked" not in command("panic", "--cancel-all", file).out
    write_latch(risk, armed=True, wall_ns=2)
    assert "not asked" not in command("panic", "--cancel-all", "--after-end", file).out
    monkeypatch.delenv("SERVICE_RESULT")
    assert "not asked" not in command("panic", "--cancel-all", "--after-end", file).out


def test_note_that_is_damaged_or_cannot_be_kept_spares_nobody(
    tmp_path: Path, file: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXIT_CODE", "killed")
    risk = tmp_path / "state" / "risk"
    write_latch(risk, armed=False, wall_ns=1)
    (risk / PANIC).write_bytes(b'{"usdm": {"at_ns": 1')
    assert "not asked" not in command("panic", "--cancel-all", "--after-end", file).out
    (risk / PANIC).unlink()
    (risk / PANIC).mkdir()
    ended = command("panic", "--cancel-all", "--after-end", file)
    assert "not asked" not in ended.out
    assert "the next end asks again" in ended.err
