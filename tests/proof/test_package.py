"""The Debian package: built, put into a root of its own, run there, removed, purged.

Method: a root of its own is this machine's filesystem under an overlay, in a mount namespace, so
that dpkg and the interpreter are real and nothing of this machine changes. Needs root, dpkg-deb and
Debian's python3 with its venv module.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.pages import blocks

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]
IGNORED = {"DEB_XZ_LEVEL": "0"}  # the proof is no publication
MINE = "# mine\n[node]\nid = 7\n"
STEPS = """
set -eu
mount --make-rprivate /
mkdir -p "$WORK/over" && mount -t tmpfs tmpfs "$WORK/over"
mkdir -p "$WORK/over/up" "$WORK/over/work" "$WORK/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$WORK/over/up,workdir=$WORK/over/work" "$WORK/root"
mount --rbind /proc "$WORK/root/proc" && mount --rbind /dev "$WORK/root/dev"
mount -t tmpfs tmpfs "$WORK/root/tmp" && mount -t tmpfs tmpfs "$WORK/root/run"
cp "$DEB" "$WORK/root/tmp/tickd.deb"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    chroot "$WORK/root" /bin/sh -eu -c "$PROGRAM"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this tree; $TICKD_DEB or $TICKD_WHEEL name what is built already."""
    if made := os.environ.get("TICKD_DEB"):
        return Path(made)
    for program in ("dpkg-deb", "maturin"):
        beside = Path(sys.executable).parent / program
        if shutil.which(program) is None and not beside.exists():
            pytest.skip(f"{program} is not installed")
    out = tmp_path_factory.mktemp("deb")
    wheel = os.environ.get("TICKD_WHEEL")
    if wheel is None:
        maturin = Path(sys.executable).parent / "maturin"
        command = [maturin, "build", "--release", "--locked", "--quiet", "--out", out]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        (wheel,) = map(str, out.glob("*.whl"))
    done = subprocess.run(
        [REPOSITORY / "deploy" / "debian" / "build.sh", wheel, out],
        cwd=REPOSITORY,
        env={**os.environ, **IGNORED, "DEB_PIP": f"{sys.executable} -m pip"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def inside(package: Path, tmp_path: Path) -> Callable[[str], str]:
    """A function that runs a shell program in a fresh root, where the package is /tmp/tickd.deb."""
    if os.geteuid() != 0:
        pytest.skip("an overlay of the filesystem needs root")
    work = tmp_path / "work"
    work.mkdir()

    def run(program: str) -> str:
        done = subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", STEPS],
            env={**os.environ, "WORK": str(work), "DEB": str(package), "PROGRAM": program},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if "overlay" in done.stderr and "mount:" in done.stderr:
            pytest.skip("an overlay is not permitted here")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_an_installed_package_runs_and_explains_itself(inside: Callable[[str], str]) -> None:
    said = inside(
        "dpkg -i /tmp/tickd.deb; tickd --version; tickd check /etc/tickd/tickd.toml;"
        "cd /; /opt/tickd/venv/bin/python -P -c 'import tickd; print(tickd.__file__)';"
        "zcat /usr/share/man/man1/tickd.1.gz | head -1;"
        "stat -c '%a %n' /etc/tickd/credentials /etc/tickd/tickd.toml;"
        "dpkg --verify tickd; readlink /usr/bin/tickd; ls /lib/systemd/system/tickd.service"
    )
    assert "(release)" in said
    assert 'state_dir = "/var/lib/tickd"' in said
    assert "/opt/tickd/venv/lib/python3" in said
    assert ".TH TICKD 1" in said
    assert "700 /etc/tickd/credentials" in said
    assert "644 /etc/tickd/tickd.toml" in said
    assert "/opt/tickd/venv/bin/tickd" in said
    assert "/lib/systemd/system/tickd.service" in said


def test_a_removed_package_leaves_configuration_and_a_purged_one_the_data(
    inside: Callable[[str], str],
) -> None:
    said = inside(
        "dpkg -i /tmp/tickd.deb >/dev/null;"
        "mkdir -p /var/lib/tickd/raw; echo x >/var/lib/tickd/raw/x;"
        f"printf '{MINE.encode('unicode_escape').decode()}' >/etc/tickd/tickd.toml;"
        "echo secret >/etc/tickd/credentials/key;"
        "dpkg -i --force-confdef /tmp/tickd.deb >/dev/null 2>&1; head -1 /etc/tickd/tickd.toml;"
        "dpkg -r tickd >/dev/null; ls /etc/tickd/tickd.toml;"
        "ls -d /opt/tickd 2>&1 || echo no program;"
        "ls /usr/bin/tickd 2>&1 || echo no command;"
        "dpkg -P tickd; ls /etc/tickd/tickd.toml 2>&1 || echo no configuration;"
        "cat /etc/tickd/credentials/key /var/lib/tickd/raw/x"
    )
    assert said.startswith("# mine\n")
    lines = said.splitlines()
    for line in (
        "/etc/tickd/tickd.toml",
        "no program",
        "no command",
        "no configuration",
        "recorded data stays in /var/lib/tickd",
        "secret",
        "x",
    ):
        assert any(line in each for each in lines), f"{line}: {said}"


def test_every_alert_names_a_runbook_that_the_package_installs(package: Path) -> None:
    program = 'dpkg-deb --fsys-tarfile "$0" | tar -xO --wildcards "./usr/share/tickd/*.rules.yml"'
    rules = subprocess.run(["sh", "-c", program, package], capture_output=True, check=True)
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, check=True)
    installed = {line.split()[-1].removeprefix(b".") for line in listed.stdout.splitlines()}
    urls = re.findall(rb"runbook_url: (\S+)", rules.stdout)
    assert len(urls) == rules.stdout.count(b"- alert: ") > 40
    assert [url for url in urls if url.removeprefix(b"file://") not in installed] == []


def test_the_pages_own_words_install_it(inside: Callable[[str], str]) -> None:
    made, install, start = blocks(REPOSITORY / "docs/how-to/install.md")["Debian"]
    assert made.strip() == "make deb"
    assert re.search(r"^deb:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    check, enable = start.strip().splitlines()
    said = inside(
        "mkdir -p /tmp/clone/dist; cp /tmp/tickd.deb /tmp/clone/dist/tickd_0.1.0_amd64.deb;"
        f"cd /tmp/clone\n{install}\n{check}"
    )
    assert 'state_dir = "/var/lib/tickd"' in said
    assert enable == "systemctl enable --now tickd"


def test_nothing_in_the_package_names_the_place_where_it_was_built(package: Path) -> None:
    program = 'dpkg-deb --fsys-tarfile "$0" | tar -xO --wildcards "./opt/tickd/venv/bin/*" "*.cfg"'
    said = subprocess.run(["sh", "-c", program, package], capture_output=True, check=True).stdout
    assert b"#!/opt/tickd/venv/bin/python" in said
    assert str(REPOSITORY).encode() not in said
    assert b"/tmp/" not in said


def test_lintian_finds_nothing_that_is_not_explained(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", package],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
