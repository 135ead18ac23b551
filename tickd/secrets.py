"""Secrets: values that never show themselves.

A secret is read once, from a file named in the configuration, from a credential of systemd, or from
a mapping the composition root passes in (the process's environment). This module reads no
environment itself and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn, final

from tickd.errors import ConfigError

__all__ = ["Secret", "secret_from_credential", "secret_from_env", "secret_from_file"]

HIDDEN: Final = "***"
# A longer "secret" is a wrong file: keys and tokens are short, a log is not.
SECRET_BYTES_MAX: Final = 65_536
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
# What tickd's unit loads from a directory has its id in front: LoadCredential=tickd:DIRECTORY.
CREDENTIAL_PREFIX: Final = "tickd_"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
CREDENTIAL_SOURCE: Final = Path("/etc/tickd/credentials")


@final
class Secret:
    """A string that prints as `***`.

    `reveal()` is the one way to it, so that every use can be found.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the value; pass it on at once and keep no copy."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, _spec: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled")


def secret_from_file(path: str | Path) -> Secret:
    """Return the content of `path` without the trailing line break.

    Raises ConfigError: unreadable, empty, too long, not text, or readable by everybody.
    """
    file = Path(path)
    try:
        if file.stat().st_mode & 0o007:
            raise ConfigError(f"secret file {file} is open to everybody", hint=f"chmod 600 {file}")
        with file.open("rb") as stream:
            content = stream.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"secret file {file}: {error.strerror or error}") from error
    if len(content) > SECRET_BYTES_MAX:
        raise ConfigError(f"secret file {file} is longer than {SECRET_BYTES_MAX} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"secret file {file} is not UTF-8 text") from error
    if not text:
        raise ConfigError(f"secret file {file} is empty")
    return Secret(text)


def secret_from_env(name: str, environment: Mapping[str, str]) -> Secret:
    """Return the value of `name` in the given mapping.

    Raises ConfigError when it is missing or empty.
    """
    if not _VARIABLE.fullmatch(name):
        # Whoever takes `env` for the place of the secret itself must not read it in a journal.
        raise ConfigError("what stands under env is no name of a variable", hint='{ env = "NAME" }')
    text = environment.get(name, "")
    if not text:
        raise ConfigError(f"environment variable {name} is not set", hint=f"export {name}=…")
    return Secret(text)


def secret_from_credential(name: str, environment: Mapping[str, str]) -> Secret:
    """Return the credential that systemd keeps under `name`, or under `tickd_` and the name.

    A command typed by hand was passed none: it reads the file that systemd would pass. Raises
    ConfigError: none of this name, it may not be read, or a file that is no secret.
    """
    if not name or "/" in name or name.startswith("."):
        # Not shown: it may be the secret itself.
        raise ConfigError(
            "what stands under credential is no name of a credential", hint="a name, not a path"
        )
    directory = environment.get(CREDENTIALS, "")
    if not directory or not _exists(Path(directory)):
        return _from_source(name)
    places = [Path(directory, prefix + name) for prefix in ("", CREDENTIAL_PREFIX)]
    for place in places:
        if _exists(place):
            return secret_from_file(place)
    raise ConfigError(
        f"credential {name} is not in {directory}",
        hint=f"LoadCredential={name}:/path, or a file {name} in {CREDENTIAL_SOURCE}",
    )


def _from_source(name: str) -> Secret:
    """Return what the unit would pass under this name. Raises ConfigError."""
    names = dict.fromkeys((name, name.removeprefix(CREDENTIAL_PREFIX)))
    places = [CREDENTIAL_SOURCE / each for each in names if each]
    place = next(filter(_exists, places), places[0])
    try:
        return secret_from_file(place)
    except ConfigError as error:
        if error.hint is None:
            error.hint = f"systemd passes {place}; by hand: as root, who may read it"
        raise


def _exists(path: Path) -> bool:
    """Whether it is there; what we may not look at is not there for us."""
    try:
        return path.exists()
    except OSError:
        return False
