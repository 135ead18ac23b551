"""The choice of a backend: the environment, the parity check, one decision per process tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tickd import backend
from tickd.backend import Choice, choices, choose
from tickd.errors import TickdError

ROOT = Path(__file__).parents[3]
PROGRAM = (
    "from strategy_runner.indicators import CHOICE, Ofi; "
    "print(CHOICE.name, Ofi.__module__, CHOICE.reason)"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_choices", {})
    for name in [name for name in os.environ if name.startswith("TICKD_BACKEND_DECIDED_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TICKD_NATIVE_BACKEND", raising=False)
    # What `choose` writes must not outlive the test.
    monkeypatch.setenv("TICKD_BACKEND_DECIDED_THING", "")


def test_auto_takes_native_only_without_a_fault() -> None:
    assert choose("thing", lambda: None) == Choice(
        "thing", "native", "equal to the twin on the built-in corpus"
    )
    assert choices() == (choose("thing", lambda: "asked twice"),)


def test_auto_takes_numpy_and_says_why() -> None:
    assert choose("thing", lambda: "differs") == Choice("thing", "numpy", "differs")


def test_children_inherit_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    choose("thing", lambda: "differs")
    monkeypatch.setattr(backend, "_choices", {})
    assert choose("thing", lambda: None).name == "numpy"


def test_native_demanded_and_missing_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKD_NATIVE_BACKEND", "native")
    with pytest.raises(TickdError, match="cannot be used: missing"):
        choose("thing", lambda: "missing")
    assert choose("thing", lambda: None).name == "native"


def test_numpy_demanded_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKD_NATIVE_BACKEND", "numpy")
    assert choose("thing", lambda: pytest.fail("asked")).name == "numpy"


def test_other_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKD_NATIVE_BACKEND", "cuda")
    with pytest.raises(TickdError, match="cuda"):
        choose("thing", lambda: None)


def printed(program: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TICKD_BACKEND_DECIDED_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_indicators_are_native_when_they_may() -> None:
    assert printed(PROGRAM).startswith("native tickd._native equal to the twin")


def test_indicators_are_twins_when_told() -> None:
    out = printed(PROGRAM, TICKD_NATIVE_BACKEND="numpy")
    assert out.startswith("numpy strategy_runner.indicators.twin")


def test_indicators_work_without_the_native_module() -> None:
    hidden = "import sys; sys.modules['tickd._native'] = None\n" + PROGRAM
    assert printed(hidden).startswith(
        "numpy strategy_runner.indicators.twin.quotes the module is missing"
    )


def test_a_child_process_agrees_without_a_second_check() -> None:
    child = f"import subprocess; subprocess.run([sys.executable, '-c', {PROGRAM!r}], check=True)"
    hide = "import sys; sys.modules['tickd._native'] = None"
    program = f"{hide}; import strategy_runner.indicators; {child}"
    assert "decided by the parent process" in printed(program)
