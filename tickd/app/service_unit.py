"""Which systemd unit a daemon runs as, for commands that a person is told to type.

Asked from outside, as a daemon that hangs tells nothing: the raw log's lock says which process it
is, the kernel in which control group that is, and systemd names the group after the unit. It starts
nothing, and loads as little as the commands that ask.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

__all__ = ["UNIT", "unit_in_words", "unit_of_process", "unit_of_state"]

# Where nothing says another: what a person with one daemon has.
UNIT: Final = "tickd"
_PROC: Final = Path("/proc")
# Another program's unit must never get into a line that ends processes: a daemon that was started
# out of cron is in cron's.
_SERVICE: Final = re.compile(r"(tickd(?:[@._-][\w:.@\\-]*)?)\.service", re.ASCII)
# As tickd@.service has it: StateDirectory=tickd-%i. DynamicUser= keeps it below private/.
_STATE: Final = re.compile(r"/var/lib/(?:private/)?tickd-(\d+-\d+)")


def unit_of_process(pid: int | str, *, proc: Path = _PROC) -> str | None:
    """The unit of a process (`self`: our own), None outside of a unit of tickd's."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in groups:
        if found := _SERVICE.fullmatch(line.rpartition("/")[2]):
            return found[1]
    return None


def unit_of_state(state_dir: Path, *, proc: Path = _PROC) -> str:
    """The unit of the daemon that has this state directory; `tickd` where nothing tells."""
    try:
        holder = (state_dir / "raw" / "LOCK").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        holder = ""
    unit = unit_of_process(holder, proc=proc) if holder.isdecimal() else None
    if unit is not None:
        return unit
    shard = _STATE.fullmatch(str(state_dir))
    return f"tickd@{shard[1]}" if shard else UNIT


def unit_in_words(state_dir: Path, *, proc: Path = _PROC) -> str:
    """`unit_of_state`, to be pasted into a shell."""
    return shlex.quote(unit_of_state(state_dir, proc=proc))
