"""Root on a directory of somebody else: what it makes is the owner's, and the way there is open.

Method: processes of their own, since an identity that was given up does not come back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tickd.app.disk_checks import check_writable
from tickd.app.findings import Verdict
from tickd.app.owner_checks import strangers
from tickd.ownership import give_to_owner

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="root of Linux only"
)

UID, GID = 61_300, 61_301
ACTS = """
import os, subprocess, sys
from pathlib import Path
from tickd.app.raw_lock import raw_lock
from tickd.ownership import act_as_owner
state, elsewhere = Path(sys.argv[1]), Path(sys.argv[2])
with raw_lock(state / "raw"):
    (state / "made").write_text("by the command")
    subprocess.run(["touch", state / "child"], check=True)
    assert (elsewhere / "secret").read_text() == "of root", "a credential, say"
    (elsewhere / "copy").write_text("where root may write")
    assert os.getresuid() == (61300,) * 3 and os.getresgid() == (61301,) * 3
    assert os.getgroups() == []
    try:
        os.setuid(0)
    except PermissionError:
        sys.exit(0)
sys.exit("it could become root again")
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """As `DynamicUser=` has it: behind a directory that only root passes, and reached by a link."""
    private = tmp_path / "private"
    (private / "tickd" / "raw").mkdir(parents=True)
    for path in (private / "tickd", private / "tickd" / "raw"):
        path.chmod(0o750)
        os.chown(path, UID, GID)
    private.chmod(0o700)
    link = tmp_path / "tickd"
    link.symlink_to(private / "tickd")
    return link


def python(program: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def owners(directory: Path) -> dict[str, tuple[int, int]]:
    """Of everything below, itself too."""
    stats = {path.name: path.lstat() for path in (directory, *directory.resolve().rglob("*"))}
    del stats[directory.name]
    return {name: (each.st_uid, each.st_gid) for name, each in stats.items()}


def test_what_is_made_under_the_lock_is_the_owners_and_children_too(
    state: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "secret").write_text("of root")
    (elsewhere / "secret").chmod(0o600)
    done = python(ACTS, state, elsewhere)
    assert done.returncode == 0, done.stderr
    made = owners(state)
    assert {"LOCK", "made", "child"} <= set(made)
    assert set(made.values()) == {(UID, GID)}


@pytest.mark.parametrize("name", ["", "not-there"])
def test_root_stays_root_where_the_directory_is_its_own_or_none(tmp_path: Path, name: str) -> None:
    program = "import os, sys; from pathlib import Path\nfrom tickd.ownership import act_as_owner\n"
    program += "act_as_owner(Path(sys.argv[1])); sys.exit(os.getuid())"
    assert python(program, tmp_path / name).returncode == 0


def test_who_is_not_root_stays_who_it_is(state: Path) -> None:
    program = "import os, sys; from pathlib import Path\nfrom tickd.ownership import act_as_owner\n"
    program += "os.setuid(61399); act_as_owner(Path(sys.argv[1])); sys.exit(os.getuid() != 61399)"
    done = python(program, state)
    assert done.returncode == 0, done.stderr


def test_refusal_of_the_kernel_is_said(state: Path) -> None:
    """A container that may not change ids: nothing is made as root instead."""
    program = """
import ctypes, sys
from pathlib import Path
from tickd.app.raw_lock import raw_lock
for capability in (6, 7):  # CAP_SETGID, CAP_SETUID
    assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
import os
from tickd.errors import TickdError
os.execv(sys.executable, [sys.executable, "-c", '''
import sys
from pathlib import Path
from tickd.app.raw_lock import raw_lock
from tickd.errors import TickdError
try:
    with raw_lock(Path(sys.argv[1]) / "raw"):
        sys.exit("as root")
except TickdError as error:
    print(error)
''', sys.argv[1]])
"""
    done = python(program, state)
    assert done.returncode == 0, done.stderr
    assert f"root cannot act as uid {UID}, the owner of " in done.stdout
    assert owners(state) == {"raw": (UID, GID)}


def test_what_root_made_is_given_to_whose_the_directory_is(state: Path, tmp_path: Path) -> None:
    for place in (state, tmp_path):
        (place / "file").touch()
        give_to_owner(place / "file")
    assert owners(state)["file"] == (UID, GID)
    assert (tmp_path / "file").stat().st_uid == 0


def test_doctor_names_what_the_daemon_cannot_open(state: Path) -> None:
    sink = state / "sink"
    sink.mkdir()
    os.chown(sink, UID, GID)
    assert strangers(state) == []
    assert check_writable(state).verdict is Verdict.OK
    for name in ("plan.jsonl", "repair.json"):
        (sink / name).write_text("{}\n")
        (sink / name).chmod(0o600)
    finding = check_writable(state)
    assert finding.verdict is Verdict.FAIL
    assert "/sink/" in finding.words
    assert "and 1 more" in finding.words
    subprocess.run(["sh", "-c", finding.remedy], check=True)
    assert check_writable(state).verdict is Verdict.OK


def test_doctor_without_rights_names_what_it_cannot_open() -> None:
    """As the unit asks; a file of somebody else that everybody may use is none."""
    program = f"""
import os, sys
from pathlib import Path
from tickd.app.disk_checks import check_writable
state = Path(sys.argv[1])
for name, mode in (("open", 0o666), ("plan.jsonl", 0o600)):
    (state / name).touch()
    (state / name).chmod(mode)
os.setgroups([]); os.setgid({GID}); os.setuid({UID})
(state / "own").touch(mode=0o400)
print(check_writable(state).words)
"""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        os.chown(folder, UID, GID)
        said = python(program, Path(folder))
    assert f"{folder}/plan.jsonl: not the daemon's to open" in said.stdout, said.stderr
