"""Prints a hashed lock without what the Debian package leaves out, nor what only that needs.

`python requirements.py requirements/runtime.txt`: the embedded ClickHouse (chdb) is larger than all
the rest; whoever installs a package runs a ClickHouse server, or adds chdb to the environment. It
resolves nothing: versions and hashes are those of the lock.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

LEFT_OUT: Final = frozenset({"chdb"})
ENTRY: Final = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
WANTED_BY: Final = re.compile(
    r"^    #(?: via| {3})?[ ]+([A-Za-z0-9_.-]+)(?: \(.*\))?$", re.MULTILINE
)


def kept(lock: str) -> str:
    """The entries that stay, as they are."""
    entries = [(text.split("==")[0], text) for text in ENTRY.split(lock)[1:]]
    wanted_by: dict[str, set[str]] = {}
    for name, text in entries:
        wanted_by.setdefault(name, set()).update(WANTED_BY.findall(text))
    stay = {"tickd"}
    grown = True
    while grown:
        more = {
            name
            for name, wanters in wanted_by.items()
            if name not in LEFT_OUT | stay and wanters & stay
        }
        stay |= more
        grown = bool(more)
    return "".join(text for name, text in entries if name in stay)


if __name__ == "__main__":
    sys.stdout.write(kept(Path(sys.argv[1]).read_text()))
