"""The key of a directory's embedded server: made once, kept in a file that only its owner reads.

The port is open to every user of the machine, and SQL can read files: without the key nothing is
served. The child makes the key and checks it; the daemon and the command line read it.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tickd.secrets import Secret

__all__ = ["FILE_NAME", "USER", "credentials", "make_key", "read_key"]

FILE_NAME: Final = "http.key"
USER: Final = "default"
_BYTES: Final = 32


def make_key(directory: Path) -> Secret:
    """Return the directory's key; a missing one, or one that others could read, is made anew."""
    path = directory / FILE_NAME
    try:
        private = stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    except FileNotFoundError:
        private = False
    known = read_key(directory) if private else Secret("")
    return known or _write(path)


def read_key(directory: Path) -> Secret:
    """Return the key, an empty one where there is none."""
    try:
        return Secret((directory / FILE_NAME).read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError):
        return Secret("")


def credentials(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    """User and password, from where ClickHouse takes them: basic auth, headers, the URL."""
    basic = headers.get("Authorization", "")
    if basic.lower().startswith("basic "):
        try:
            given = base64.b64decode(basic[6:], validate=True).decode()
        except ValueError:
            return "", ""
        name, _, password = given.partition(":")
        return name or USER, password
    user = headers.get("X-ClickHouse-User") or query.get("user") or USER
    return user, headers.get("X-ClickHouse-Key") or query.get("password") or ""


def _write(path: Path) -> Secret:
    """Write a new key beside the old one and replace it in one step."""
    key = secrets.token_urlsafe(_BYTES)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    key_fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(key_fd, "w", encoding="ascii") as file:
        file.write(key + "\n")
    temporary.replace(path)
    return Secret(key)
