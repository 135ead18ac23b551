"""What the pages tell people to type is what the command line takes: names, options, arguments.

Nothing is run. It reads the lines of code blocks that begin with `tickd`, the spans in the text
that go on with a pipe, and of each what comes before that.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from tickd.app.cli import build

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "examples/README.md",
    "docs/*.md",
    "docs/how-to/*.md",
    "docs/formats/*.md",
    "docs/runbooks/*.md",
)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^tickd (.*)$", re.MULTILINE)
INDENTED = re.compile(r"^    tickd (.*)$", re.MULTILINE)
PIPED = re.compile(r"`tickd ([^`]* \| [^`]*)`")


def typed(text: str) -> Iterator[str]:
    """What follows `tickd` wherever it is to be typed."""
    for block in BLOCK.findall(text):
        yield from LINE.findall(block)
    yield from INDENTED.findall(text)
    yield from PIPED.findall(text)


def documented() -> Iterator[tuple[str, list[str]]]:
    for page in (path for pattern in PAGES for path in sorted(ROOT.glob(pattern))):
        for line in typed(page.read_text()):
            words = shlex.split(line, comments=True)
            for shell in ("|", "||", "&&"):
                words = words[: words.index(shell)] if shell in words else words
            yield page.name, words


@pytest.mark.parametrize(("page", "words"), list(documented()))
def test_a_documented_command_is_one(page: str, words: list[str]) -> None:
    app = build(words[0])
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        pytest.fail(f"{page}: tickd {shlex.join(words)}: {error}")


def test_the_pages_do_show_commands() -> None:
    assert len({words[0] for _, words in documented()}) > 10
