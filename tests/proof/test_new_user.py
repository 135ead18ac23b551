"""A new user's path: docs/how-to/install.md, block by block as it stands, in an empty machine.

Method: sections 1 and 2 install into an overlay of this system's root, with the network, where
neither this checkout nor its virtual environment is to be seen: a copy of the committed files and a
wheel is all there is. Then that root boots with systemd and no network, and sections 3 to 5 run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.machine import Machine
from tests.harness.pages import blocks
from tests.harness.processes import REPOSITORY

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(1200)]

PAGE = REPOSITORY / "docs/how-to/install.md"
SOURCES = "/srv/tickd"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody has who cloned the repository and ran `make wheel`, or took one."""
    folder = tmp_path_factory.mktemp("clone") / "tickd"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    (folder / "dist").mkdir()
    shutil.copy(_wheel(), folder / "dist")
    return folder


def _wheel() -> Path:
    """The one of TICKD_WHEEL, else `make wheel`'s."""
    given = os.environ.get("TICKD_WHEEL")
    if given:
        return Path(given)
    subprocess.run(["make", "wheel"], cwd=REPOSITORY, check=True, timeout=500)
    return max((REPOSITORY / "dist").glob("tickd-*.whl"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def machine(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is missing")
    page = blocks(PAGE)
    install = "\n".join(block for title in ("1.", "2.") for block in page[title])
    script = f"set -euo pipefail\ncd {SOURCES}\n{install}\n"
    folder = tmp_path_factory.mktemp("machine") / "m"
    with Machine(folder, prepare=script, binds=[(sources, SOURCES)]) as machine:
        yield machine


def test_readme_leads_to_the_page() -> None:
    assert "docs/how-to/install.md" in (REPOSITORY / "README.md").read_text()


def test_nothing_becomes_a_supervised_daemon_that_prometheus_scrapes(machine: Machine) -> None:
    page = blocks(PAGE)
    # test_package.py tries the section Debian.
    assert set(page) == {"1.", "2.", "3.", "4.", "5.", "Debian"}, "a section that nobody tries"
    said = [machine.shell(block, cwd=SOURCES) for block in page["3."]]
    assert "1/1 feeds live" in said[1]
    assert machine.property("ActiveState") == "active"
    assert re.search(r"^ready$", said[1], re.MULTILINE)
    assert "BTCUSDT" in said[1]
    machine.shell(page["4."][0], cwd=SOURCES)
    up, trades = page["4."][1].strip().splitlines()
    machine.wait_until(
        lambda: '"1"]' in machine.shell(up, cwd=SOURCES, check=False), "not scraped", timeout=90
    )
    series = json.loads(machine.shell(trades, cwd=SOURCES))["data"]["result"]
    assert any(int(each["value"][1]) > 0 for each in series), series
    # There is no network here: the page says what the daemon says then.
    machine.shell(page["5."][0], cwd=SOURCES)
    assert "0/1 feeds live" in machine.property("StatusText")
    assert "venues_degraded" in machine.journal()
