"""README, "Record a real market": its file and its commands as they stand, on a market of loopback.

Method: the environment that it activates runs this checkout, the venue's addresses lead to a
simulated market, and [ship] to a folder. What needs a screen or never ends has tests of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.processes import REPOSITORY, server, stop

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(300)]

SECTION = re.search(
    r"^## Record a real market\n.*?^```toml\n(?P<file>.*?)^```$.*?^```sh\n(?P<typed>.*?)^```$",
    (REPOSITORY / "README.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
VENUE = "binance-usdm"
# `tickd run` goes on; the other two have tests/integration/test_terminal_tools.py.
ENDLESS = ("tickd run ", "tickd top ", "tickd tail ")
# Exit codes other than 0: the machine's own WARN and FAIL.
ALLOWED = {"tickd doctor ": {0, 1}}
WAIT_S = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout in which `make demo` has been run, as far as the section sees it."""
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True, timeout=60
    )
    program = tmp_path / ".venv/bin/tickd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tickd "$@"\n')
    program.chmod(0o755)
    return tmp_path


def typed(folder: Path, line: str) -> subprocess.Popen[str]:
    """The line in a shell of its own, behind the block's first."""
    assert SECTION is not None
    first = SECTION["typed"].splitlines()[0]
    clean = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    clean["PATH"] = os.pathsep.join(
        place for place in clean["PATH"].split(os.pathsep) if not Path(place, "tickd").exists()
    )
    return subprocess.Popen(
        ["/bin/sh", "-c", f"{first}\nexec {line}"],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answer(folder: Path, line: str) -> tuple[int, str]:
    process = typed(folder, line)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out


@contextmanager
def recording(folder: Path, line: str) -> Iterator[None]:
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *line.split("#", maxsplit=1)[0].split()],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stderr=log,
        )
        try:
            yield
        finally:
            assert stop(process, timeout=60) == 0, (folder / "run.log").read_text()[-2000:]


def test_the_file_and_the_commands_of_the_section_work(folder: Path) -> None:
    assert SECTION is not None
    lines = SECTION["typed"].splitlines()[1:]
    (run,) = (line for line in lines if line.startswith("tickd run "))
    (query,) = (line for line in lines if line.startswith("tickd query "))
    market = ("sim", "--rate", "300", "--symbols", "2", "--seed", "5")
    with server(*market, log=folder / "sim.log") as sim:
        # The simulated market speaks this venue's protocol; the other one's table is left out.
        own, _, other = SECTION["file"].partition('\n[[venues]]\nname = "okx"')
        assert f'name = "{VENUE}"' in own
        assert other
        urls = f'ws_url = "{sim["ws"][VENUE]}"\nrest_url = "{sim["rest"][VENUE]}"\n'
        ship = f'[ship]\nurl = "file://{folder}/store"\n[http]\nport = 0\n'
        (folder / "tickd.toml").write_text(own + urls + ship)
        with recording(folder, run):
            until = time.monotonic() + WAIT_S
            while "BTCUSDT" not in answer(folder, query)[1]:
                assert time.monotonic() < until, (folder / "run.log").read_text()[-2000:]
                time.sleep(1)
            said = {line: answer(folder, line) for line in lines if not line.startswith(ENDLESS)}
    assert len(said) >= 10
    for line, (code, out) in said.items():
        allowed = next((codes for of, codes in ALLOWED.items() if line.startswith(of)), {0})
        assert code in allowed, f"{line}: {code}\n{out[-2000:]}"
        assert out.strip(), f"{line} says nothing"
    assert any((folder / "trades").iterdir())
