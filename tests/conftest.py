"""Fixtures of every test.

Where the recorded captures are, and what a missing prerequisite means.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
CAPTURES = Path(os.environ.get("TICKD_CAPTURES", REPOSITORY.parent / "shared" / "data"))
# Without this, pytest-asyncio 1.5 asks for "the current loop" and so makes one that nobody closes,
# which some later test is then blamed for (ResourceWarning: unclosed event loop).
asyncio.set_event_loop(None)
# A shell lets what it starts behind `&` ignore Ctrl-C, and so would every process of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Shioaji's SDK writes a log file into the current directory unless this says where, at its import.
os.environ.setdefault("SJ_LOG_PATH", os.devnull)
# A deadline per example judges how busy the machine is; what hangs meets the timeout of its test.
settings.register_profile("tickd", deadline=None)
settings.load_profile("tickd")
REQUIRE_ALL = os.environ.get("TICKD_REQUIRE_ALL") == "1"
# Nobody can install these: data that not everyone may have, and rights that a machine withholds.
EXCUSES = re.compile(
    r"captures|recorded wire data|not permitted|needs root|no tmpfs here|needs two cores"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes takes seconds each: integration, and whatever asks a ClickHouse."""
    for item in items:
        is_integration = item.path.is_relative_to(REPOSITORY / "tests" / "integration")
        if is_integration or item.get_closest_marker("embedded"):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, object]:
    """Where everything must be there (CI), a skip for a missing prerequisite is a failure."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not EXCUSES.search(reason):
            report.outcome = "failed"
            report.longrepr = f"missing prerequisite of {item.nodeid}: {reason}"
    return report


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of recorded wire data; the test is skipped, and listed so, where it is absent."""
    if not (CAPTURES / "wire").is_dir():
        pytest.skip(f"no captures at {CAPTURES}: set TICKD_CAPTURES")
    return CAPTURES
