"""Fixtures of every test.

Where the recorded captures are, and what a missing prerequisite means.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CAPTURES = Path(os.environ.get("TICKD_CAPTURES", REPOSITORY.parent / "shared" / "data"))
# Without this, pytest-asyncio 1.5 asks for "the current loop" and so makes one that nobody closes,
# which some later test is then blamed for (ResourceWarning: unclosed event loop).
asyncio.set_event_loop(None)
# In CI a missing prerequisite is a failure; the captures are data that not everyone may have.
REQUIRE_ALL = os.environ.get("TICKD_REQUIRE_ALL") == "1"


def missing(reason: str) -> None:
    """Skip for a missing prerequisite, or fail where everything must be there."""
    if REQUIRE_ALL:
        pytest.fail(f"missing prerequisite: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of recorded wire data; the test is skipped, and listed so, where it is absent."""
    if not (CAPTURES / "wire").is_dir():
        pytest.skip(f"no captures at {CAPTURES}: set TICKD_CAPTURES")
    return CAPTURES
