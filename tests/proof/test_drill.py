"""The kill-switch drill, as its page has it: every block typed, every output seen.

Method: the page is parsed, nothing of it is repeated here. A machine with this checkout's tickd
and unit runs the blocks in order; of each, the lines that the page shows must come in that order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.harness.machine import Machine
from tests.harness.pages import Shown, shown
from tests.harness.processes import REPOSITORY

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(1200),
]

PAGE = REPOSITORY / "docs/how-to/kill-switch-drill.md"
CHECKOUT = "/opt/tickd/checkout"
SECTIONS = 9


def missing(expected: str, said: str) -> str:
    """The first line of the page that was not said, in order; empty: all were."""
    lines = iter(said.splitlines())
    for line in filter(None, (each.strip() for each in expected.splitlines())):
        pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
        if not any(re.search(pattern, each) for each in lines):
            return line
    return ""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine") / "m") as machine:
        yield machine


def test_drill_goes_as_its_page_says(machine: Machine) -> None:
    steps: list[tuple[str, Shown]] = shown(PAGE)
    assert len({title for title, _ in steps}) == SECTIONS, "a section without a block"
    for title, step in steps:
        said = machine.shell(step.typed, cwd=CHECKOUT)
        line = missing(step.output, said)
        assert not line, f"{title}\n{step.typed}\nnot seen: {line}\nbut: {said}"


def test_what_is_not_said_is_seen() -> None:
    said = "halted since 08:15 by signal SIGUSR1\nno orders\n"
    assert missing("halted since … by signal …\nno orders\n", said) == ""
    assert missing("no orders\nhalted since …\n", said) == "halted since …"
    assert missing("armed since …\n", said) == "armed since …"
