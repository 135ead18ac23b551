"""Asking a daemon and waiting, for commands that do nothing else.

The event loop's library takes longer to load than a daemon to answer. `control.py` has the same
question for programs with a loop; both speak the protocol that is explained there.
"""

from __future__ import annotations

import json
import os
import socket
import tomllib
from pathlib import Path
from typing import Any, Final

__all__ = ["ask_plainly", "state_dir_of"]

TIMEOUT_S: Final = 10.0
PIECE_BYTES: Final = 1 << 18
# As in `Config` and `tickd.config`, which load everything that a daemon needs.
STATE_DIR: Final = "data"
STATE_DIR_VARIABLE: Final = "TICKD__NODE__STATE_DIR"


def state_dir_of(config: Path) -> Path:
    """The state directory of a config file, or `config` itself where it is a directory.

    Nothing else of the file is looked at. Raises OSError, ValueError: it cannot be read so.
    """
    if config.is_dir():
        return config
    node = tomllib.loads(config.read_text()).get("node", {})
    named = os.environ.get(STATE_DIR_VARIABLE)
    return Path(node.get("state_dir", STATE_DIR) if named is None else named)


def ask_plainly(path: Path, command: str) -> Any:
    """Send one command over a control socket; return its result.

    Raises OSError, ValueError: nobody answers, or with a refusal.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(TIMEOUT_S)
        line.connect(str(path))
        line.sendall(json.dumps({"command": command}).encode() + b"\n")
        pieces = []
        while piece := line.recv(PIECE_BYTES):
            pieces.append(piece)
    answer = json.loads(b"".join(pieces))
    if "result" not in answer:
        raise ValueError(answer.get("error", "no result"))
    return answer["result"]
