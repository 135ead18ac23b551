"""The units as files: systemd knows every key, the sandbox is tight, the template is the unit.

Method: systemd's own judges, `systemd-analyze verify` and `security`, on copies in a directory of
their own; a unit that is made worse is seen to fail. Their life is proved in
`tests/proof/test_systemd.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tickd.app.cli import COMMANDS

UNITS = Path(__file__).parents[1] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
EXPOSURE_MAX = 15  # tenths, of 100: what is left is the network, which a gateway needs
COMMAND = re.compile(r"^(Exec\w+)=(.*)$", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: systemd"
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def installed(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    """Copies whose programs exist: `verify` looks for them."""
    for path in UNITS.iterdir():
        if path.is_file():
            text = (
                path.read_text()
                .replace("=tickd ", "=/bin/true ")
                .replace("=-tickd ", "=-/bin/true ")
                .replace(*change)
            )
            name = path.name.replace("@.", "@0-4.")
            (folder / name).write_text(text)
    return folder


def exposure(unit: Path) -> subprocess.CompletedProcess[str]:
    return analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit)


@pytest.mark.parametrize("name", ["tickd.service", "tickd@0-4.service", "tickd-ship.timer"])
def test_systemd_knows_every_key(tmp_path: Path, name: str) -> None:
    verified = analyze("verify", "--man=no", installed(tmp_path) / name)
    assert (verified.stdout + verified.stderr, verified.returncode) == ("", 0)


def test_key_with_a_slip_in_it_is_seen(tmp_path: Path) -> None:
    wrong = installed(tmp_path, ("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in analyze("verify", "--man=no", wrong / "tickd.service").stderr


@pytest.mark.parametrize("drop_in", sorted(UNITS.glob("*.d/*.conf")), ids=lambda path: path.name)
def test_systemd_knows_every_key_of_a_drop_in(tmp_path: Path, drop_in: Path) -> None:
    installed(tmp_path)
    place = tmp_path / drop_in.parent.name
    place.mkdir()
    text = drop_in.read_text().replace("=tickd ", "=/bin/true ")
    (place / drop_in.name).write_text(text.replace("=+tickd ", "=+/bin/true "))
    verified = analyze("verify", "--man=no", tmp_path / "tickd.service")
    assert (verified.stdout + verified.stderr, verified.returncode) == ("", 0)


def test_resolvers_and_roles_at_link_local_addresses_work_as_shipped() -> None:
    assert not any("IPAddressDeny" in path.read_text() for path in SERVICES)
    assert "IPAddressDeny=169.254." in (UNITS / "tickd.service.d" / "link-local.conf").read_text()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_exposure_is_low(unit: Path) -> None:
    judged = exposure(unit)
    assert judged.returncode == 0, judged.stdout[-400:]


def test_sandbox_with_a_hole_is_seen(tmp_path: Path) -> None:
    installed(tmp_path, ("CapabilityBoundingSet=\n", ""))
    assert exposure(tmp_path / "tickd.service").returncode != 0


def test_template_is_the_unit_but_for_the_shard() -> None:
    """Whatever is changed in one is changed in the other."""
    unit, template = (
        [line for line in (UNITS / name).read_text().splitlines() if not line.startswith("#")]
        for name in ("tickd.service", "tickd@.service")
    )
    template.remove("EnvironmentFile=/etc/tickd/shard-%i.env")
    differing = [(one, other) for one, other in zip(unit, template, strict=True) if one != other]
    assert {re.split("[= ]", one)[0] for one, _ in differing} == {
        "Description",
        "Environment",
        "ExecStart",
        "User",
        "StateDirectory",
    }
    assert all("%i" in other or "%I" in other for _, other in differing)


def test_every_command_is_one_of_tickds() -> None:
    files = [*SERVICES, *UNITS.glob("*.d/*.conf")]
    called = [
        word
        for path in files
        for _, command in COMMAND.findall(path.read_text())
        for word in re.findall(r"\btickd ([a-z-]+)", command)
    ]
    assert {"check", "doctor", "run", "reload", "ship", "panic"} <= set(called) <= set(COMMANDS)


def test_shipped_configuration_is_complete(tmp_path: Path) -> None:
    from tickd.app.config import load_config  # noqa: PLC0415 - the others need no numpy

    config = load_config(UNITS / "tickd.toml")
    assert str(config.state_dir) == "/var/lib/tickd"
