"""A machine for proofs: a real systemd as PID 1 in namespaces, on an overlay of this root.

It has an empty network but loopback, its own processes, mounts and journal, and this checkout's
`tickd` in /opt/tickd. Commands run in it through `nsenter`; its files are below `root`. Only one
may be up at a time, over all test processes: they would share their cgroups. Needs root.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.harness.processes import REPOSITORY, stop

BOOT = Path(__file__).with_name("machine_boot.sh")
PROGRAMS = ("/lib/systemd/systemd", "/usr/bin/dbus-daemon", "unshare", "nsenter", "ip")
LOCK = Path(tempfile.gettempdir()) / "tickd-proof-machine.lock"
BOOT_TIMEOUT_S = 60
PREPARE_TIMEOUT_S = 400
HIDDEN = ("root", "home")  # by ProtectHome=
POLL_S = 0.05
# The first two would act on the real kernel; nothing is to be mounted again; no network comes up.
MASKED = (
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "network-online.target",
)
MACHINE_ID = "7469636b642d63692d6d616368696e65"  # the journal wants one; never the host's
TARGET = """[Unit]
Description=what a proof needs
Requires=basic.target dbus.socket systemd-journald.service
After=basic.target dbus.socket systemd-journald.service
AllowIsolate=yes
"""
TICKD = """#!/opt/tickd/bin/python
from tickd.__main__ import main
main()
"""

Binds = Sequence[tuple[Path, str]]


def require() -> None:
    """Skip where no machine can be made (CI has the rights and the programs)."""
    if os.geteuid() != 0:
        pytest.skip("a machine of its own needs root")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: systemd, dbus, util-linux, iproute2")


def interpreter() -> Path:
    """A Python of this version that ProtectHome= does not hide."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix, "bin", name)
    for path in (own, Path("/usr/bin", name), Path("/usr/local/bin", name)):
        if path.exists() and path.parts[1] not in HIDDEN:
            return path
    pytest.skip(f"{name} is missing where ProtectHome= does not hide it")


class Machine:
    """One machine; a context manager."""

    def __init__(self, folder: Path, *, prepare: str = "", binds: Binds = ()) -> None:
        """Args.

        `prepare`: a script for bash that installs what is wanted, with the network, in place of
        this checkout's program and units; `binds`: what it finds, (from, to).
        """
        require()
        self.folder = folder
        self.out = folder / "out"
        self._binds = list(binds)
        self._prepares = bool(prepare)
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._pid = 0
        inject = folder / "inject"
        for path in (self.out, folder / "scratch", inject):
            path.mkdir(parents=True)
        self._inject_system(inject)
        hidden = ["/opt"]
        if prepare:
            (self.out / "prepare.sh").write_text(prepare)
            # What made this run is not there: a new user has none of it.
            hidden += [f"/{name}" for name in (*HIDDEN, "srv")] + [sys.prefix, str(REPOSITORY)]
        else:
            self._inject_tickd(inject)
        (folder / "hide").write_text("".join(f"{path}\n" for path in hidden))
        lines = [f"{source} {target}\n" for source, target in self._binds]
        (folder / "binds").write_text("".join(lines))

    def _inject_system(self, inject: Path) -> None:
        units = inject / "etc/systemd/system"
        units.mkdir(parents=True)
        for name in MASKED:
            (units / name).symlink_to("/dev/null")
        (units / "proof.target").write_text(TARGET)
        (inject / "etc/machine-id").write_text(MACHINE_ID + "\n")

    def _inject_tickd(self, inject: Path) -> None:
        """A virtual environment in /opt/tickd over the one that runs this, and the units."""
        python = interpreter()
        home = inject / "opt/tickd"
        site = home / f"lib/python3.{sys.version_info.minor}/site-packages"
        site.mkdir(parents=True)
        (home / "bin").mkdir()
        (home / "bin/python").symlink_to(python)
        (home / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
        self._binds += [
            (REPOSITORY, "/opt/tickd/checkout"),
            (_site_packages(), "/opt/tickd/packages"),
        ]
        (site / "proof.pth").write_text("/opt/tickd/checkout\n/opt/tickd/packages\n")
        script = home / "bin/tickd"
        script.write_text(TICKD)
        script.chmod(0o755)
        local = inject / "usr/local/bin"
        local.mkdir(parents=True)
        (local / "tickd").symlink_to("/opt/tickd/bin/tickd")
        for unit in sorted((REPOSITORY / "deploy/systemd").glob("*.*")):
            if unit.suffix in (".service", ".timer"):
                shutil.copy(unit, inject / "etc/systemd/system")
        (inject / "etc/tickd/credentials").mkdir(parents=True, mode=0o700)

    # Its life -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._lock = LOCK.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _boot(self) -> None:
        spaces = ("--pid", "--fork", "--kill-child=KILL", "--mount", "--uts", "--ipc")
        with (self.out / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *spaces, "--cgroup", "bash", str(BOOT), str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_default_signals,  # noqa: PLW1509 - one thread
            )
        patience_s = PREPARE_TIMEOUT_S if self._prepares else BOOT_TIMEOUT_S
        self.wait_until(self._is_up, "it has not booted", timeout=patience_s)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it died: {self._said()}"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        pids = children.read_text().split()
        if not pids or Path(f"/proc/{pids[0]}/comm").read_text().strip() != "systemd":
            return False
        self._pid = int(pids[0])
        return self.run("systemctl", "is-active", "proof.target").stdout.strip() == "active"

    def _said(self) -> str:
        logs = [self.out / name for name in ("boot.log", "console.txt", "prepare.log")]
        return "".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            for child in self._children:
                stop(child, timeout=5)
                if child.stdout is not None:
                    child.stdout.close()
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)  # PID 1 ignores TERM, and takes all along
            self._process.kill()
            self._process.wait(30)
        self._lock.close()

    # What is done in it ---------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """Its root as this process can open it."""
        return Path("/proc", str(self._pid), "root")

    def _into(self, command: tuple[str, ...]) -> list[str]:
        # A clean environment: what a login shell of root has.
        env = ["env", "-i", f"PATH={os.defpath}:/usr/local/bin:/usr/sbin", "HOME=/", "LANG=C"]
        return ["nsenter", f"--target={self._pid}", "-m", "-u", "-i", "-n", "-p", *env, *command]

    def run(
        self, *command: str, check: bool = False, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end."""
        done = subprocess.run(
            self._into(command),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            preexec_fn=_default_signals,
        )
        if check and done.returncode:
            words = f"{done.stdout}{done.stderr}\n{self.journal()[-6000:]}"
            raise AssertionError(f"{' '.join(command)}: {done.returncode}: {words}")
        return done

    def shell(self, text: str, *, cwd: str = "/", check: bool = True) -> str:
        """Run lines as somebody types them, stopping at the first that fails; what was said."""
        lines = f"set -euo pipefail\ncd {cwd}\n{text}"
        done = self.run("bash", "-c", lines)
        if check and done.returncode:
            words = f"{done.stdout}{done.stderr}\n{self.journal()[-4000:]}"
            raise AssertionError(f"{text}\nexit code {done.returncode}: {words}")
        return done.stdout

    def begin(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a command in it that goes on; its stdout is a pipe, its stderr a file in `out`."""
        with (self.out / log).open("ab") as stderr:
            process = subprocess.Popen(
                self._into(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                preexec_fn=_default_signals,  # noqa: PLW1509 - one thread
            )
        self._children.append(process)
        return process

    def venue(self, *options: str) -> dict[str, Any]:
        """Start a simulated venue in it; what it printed at start."""
        process = self.begin("tickd", "sim", *options, log="sim.log")
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (self.out / "sim.log").read_text()[-2000:]
        found: dict[str, Any] = json.loads(line)
        return found

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Put a file into it."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def property(self, name: str, unit: str = "tickd.service") -> str:
        """One property of a unit."""
        shown = self.run("systemctl", "show", unit, f"--property={name}", "--value", check=True)
        return shown.stdout.strip()

    def journal(self, unit: str = "tickd.service", *, cursor: str = "") -> str:
        """What a unit, and systemd about it, has said; since `cursor`, or since the boot."""
        since = [f"--after-cursor={cursor}"] if cursor else []
        self.run("journalctl", "--sync")
        options = ["--unit", unit, "--no-pager", "--output=cat", *since]
        return self.run("journalctl", *options, check=True).stdout

    def now(self) -> str:
        """A cursor: the end of the journal."""
        said = self.run("journalctl", "--no-pager", "--lines=0", "--show-cursor", check=True)
        return said.stdout.rpartition("-- cursor: ")[2].strip()

    def wait_until(self, condition: Callable[[], bool], what: str, *, timeout: float = 120) -> None:
        """Poll until `condition` holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                words = self.journal()[-6000:] if self._pid else self._said()
                raise AssertionError(f"{what} in {timeout} s\n{words}")
            time.sleep(POLL_S)


def _site_packages() -> Path:
    return Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages")


def _default_signals() -> None:
    """A background shell's children ignore INT; daemons are to hear it."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
