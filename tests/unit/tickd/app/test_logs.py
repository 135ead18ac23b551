"""Which lines a process writes, by its configuration and its stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tickd.app.logs import LogConfig, configure_logging


@pytest.fixture(autouse=True)
def fresh_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def said(capsys: pytest.CaptureFixture[str], config: LogConfig) -> str:
    configure_logging(config)
    structlog.get_logger().warning("disk_filled", percent=91)
    return capsys.readouterr().err


def test_stderr_that_is_no_terminal_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    line = json.loads(said(capsys, LogConfig()))
    assert (line["event"], line["level"], line["percent"]) == ("disk_filled", "warning", 91)


def test_under_systemd_lines_carry_priorities_and_no_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    text = said(capsys, LogConfig())
    assert text.startswith("<4>")
    assert "percent=91" in text


def test_a_named_format_wins_and_a_level_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert "percent=91" in said(capsys, LogConfig(format="console"))
    assert said(capsys, LogConfig(level="error")) == ""
