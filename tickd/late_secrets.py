"""Secrets that may be missing until somebody needs them.

For what must not keep the rest from starting: it is read with the configuration, and only who uses
it is told that it could not be. From a file or a credential alone: an environment variable shows in
`/proc` and in crash reports.
"""

from __future__ import annotations

from typing import Final, NoReturn, final

from tickd.errors import ConfigError
from tickd.secrets import HIDDEN, Secret

__all__ = ["LateSecret"]


@final
class LateSecret:
    """A secret, or why it could not be read; prints as `***`."""

    __slots__ = ("_fault", "_secret")

    def __init__(self, read: Secret | ConfigError) -> None:
        self._secret: Final = read if isinstance(read, Secret) else None
        self._fault: Final = read if isinstance(read, ConfigError) else None

    def secret(self) -> Secret:
        """Raises ConfigError: it could not be read."""
        if self._secret is None:
            assert self._fault is not None
            raise ConfigError(str(self._fault), hint=self._fault.hint)
        return self._secret

    def known(self) -> Secret | None:
        """The secret, if it could be read."""
        return self._secret

    def __repr__(self) -> str:
        return f"LateSecret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, _spec: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LateSecret) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Secret | None, str]:
        return self._secret, str(self._fault or "")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LateSecret is not to be pickled")
