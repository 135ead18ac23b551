"""Asking a daemon and waiting, for commands that do nothing else; where it is, and why it is mute.

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

from tickd.app.service_unit import unit_in_words
from tickd.errors import Action, ConfigError, TickdError
from tickd.toml_faults import toml_fault

__all__ = ["AS_WHOM", "ask_plainly", "not_answered", "state_dir_of"]

TIMEOUT_S: Final = 10.0
PIECE_BYTES: Final = 1 << 18
# As in `Config` and `tickd.config`, which load everything that a daemon needs.
STATE_DIR: Final = "data"
STATE_DIR_VARIABLE: Final = "TICKD__NODE__STATE_DIR"
AS_WHOM: Final = "as root, or as the daemon's user"


def state_dir_of(config: Path) -> Path:
    """The state directory of a config file, or `config` itself where it is a directory.

    Nothing else of the file is looked at, so that a command for a running daemon needs no secret.
    Raises ConfigError: it cannot be read, is not TOML, or says something else than a path.
    """
    try:
        if config.is_dir():
            return config
        text = config.read_text("utf-8")
    except PermissionError as error:
        raise ConfigError(f"{config}: {error.strerror}", hint=AS_WHOM) from error
    except OSError as error:
        raise ConfigError(f"{config}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{config}: not UTF-8 text at byte {error.start}") from error
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{config}: {toml_fault(error, text)}") from error
    node = tree.get("node", {})
    named: object = _overriding(os.environ.get(STATE_DIR_VARIABLE))
    if named is None and isinstance(node, dict):
        named = node.get("state_dir", STATE_DIR)
    if not isinstance(named, str):
        raise ConfigError(f"{config}: node.state_dir is no text", hint="tickd check says more")
    return Path(named)


def _overriding(text: str | None) -> object:
    """A variable's value, as `tickd.config` reads it: TOML, or text without quotes."""
    if text is None:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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


def not_answered(path: Path, error: OSError) -> TickdError:
    """What to say of a daemon that gave no answer: it hangs, we may not ask, or there is none."""
    if isinstance(error, TimeoutError):
        words = f"the daemon at {path} did not answer within {TIMEOUT_S:g} s: it may hang"
    elif isinstance(error, BlockingIOError):  # they wait in a queue, and that is full
        words = f"the daemon at {path} takes no connections any more: it may hang"
    elif isinstance(error, PermissionError):
        return TickdError(
            f"the daemon at {path} may not be asked: {error.strerror}",
            action=Action.FATAL,
            hint=AS_WHOM,
        )
    else:
        return TickdError(
            f"no daemon answers at {path}: {error}",
            action=Action.FATAL,
            hint="start one with: tickd run CONFIG",
        )
    return TickdError(
        words,
        action=Action.FATAL,
        hint="its end, with the stacks of all threads in the journal: systemctl kill"
        f" --kill-whom=main -s ABRT {unit_in_words(path.parent)} (elsewhere: kill -ABRT PID)",
    )
