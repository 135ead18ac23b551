"""Credentials that end: which files hold them, when each does, and a new one in its place.

It reads what the configuration names, once a minute where a file has changed. It renews nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, final

import structlog

from risk.brokers.shioaji.config import ShioajiAccountConfig
from tickd.app.certificates import FILE_BYTES_MAX, CertificateError, pem_ends, pfx_ends
from tickd.app.config import Config
from tickd.ports import Clock
from tickd.secrets import Secret

__all__ = ["HTTP", "Credential", "Credentials", "credentials_of"]

log = structlog.get_logger(__name__)

LOOK_S: Final = 60.0
HTTP: Final = "http"


class Credential(NamedTuple):
    """A file that ends; `name` is its label: what it is for, or an account's name."""

    name: str
    path: Path
    password: Secret | None = None  # of a .pfx; the others are PEM
    of_bundle: bool = False  # of authorities
    beside: Path | None = None  # its key: a renewal writes both, one after the other


def credentials_of(config: Config) -> Iterator[Credential]:
    """Every credential with an end that a configuration names."""
    if config.http.enabled and config.http.cert_file is not None:
        key = None if config.http.key_file is None else Path(config.http.key_file)
        yield Credential(HTTP, Path(config.http.cert_file), beside=key)
    for name in ("ca_file", "cert_file"):
        path = getattr(config.clickhouse, name)
        if path is not None:
            yield Credential(f"clickhouse_{name}", Path(path), of_bundle=name == "ca_file")
    for account in config.accounts:
        if isinstance(account, ShioajiAccountConfig) and account.ca_path:
            password = account.ca_password or Secret("")
            yield Credential(account.name, Path(account.ca_path), password)


@final
class Credentials:
    """Those of one daemon."""

    def __init__(self, config: Config, *, clock: Clock) -> None:
        self._known: Final = tuple(credentials_of(config))
        self._clock: Final = clock
        self._on_renewed: Final[dict[str, Callable[[], object]]] = {}
        # Of each: sizes and times of what was read last.
        self._stamps: Final[dict[str, list[int]]] = {}
        # When each ends, seconds since 1970; a file that cannot be read has none. New ones take
        # the place of the old: others read them meanwhile.
        self.ends: Mapping[str, float] = {}
        self.faults: Mapping[str, str] = {}

    def when_renewed(self, name: str, what: Callable[[], object]) -> None:
        """Call `what` on the loop when a file is another than the one that was read first."""
        self._on_renewed[name] = what

    async def run(self) -> None:
        """Until cancelled."""
        while self._known:
            # A .pfx is kept under a key that is slow to derive.
            for name in await asyncio.to_thread(self.look):
                if name in self._on_renewed:
                    self._on_renewed[name]()
            await self._clock.sleep(LOOK_S)

    def look(self) -> list[str]:
        """Read the files that have changed; return which of them are others. Raises nothing."""
        renewed: list[str] = []
        for each in self._known:
            try:
                stamp = _stamp(each)
                before = self._stamps.get(each.name)
                # What could not be read is tried again: new rights change neither size nor time.
                if before == stamp and each.name not in self.faults:
                    continue
                self._stamps[each.name] = stamp
                ends = _ends(each)
            except (OSError, CertificateError) as error:
                self._fault(each.name, str(error))
                continue
            self.faults = {name: why for name, why in self.faults.items() if name != each.name}
            if ends is not None:
                self.ends = {**self.ends, each.name: ends}
            if before is not None:
                renewed.append(each.name)
        return renewed

    def _fault(self, name: str, words: str) -> None:
        """Say once what is wrong with a file; an end that was known is not believed any more."""
        self.ends = {each: ends for each, ends in self.ends.items() if each != name}
        if self.faults.get(name) != words:
            self.faults = {**self.faults, name: words}
            log.warning("credential_unreadable", name=name, words=words)


def _stamp(credential: Credential) -> list[int]:
    """Raises OSError."""
    stamp: list[int] = []
    for path in (credential.path, credential.beside):
        if path is not None:
            stat = path.stat()
            stamp += (stat.st_size, stat.st_mtime_ns)
    return stamp


def _ends(credential: Credential) -> float | None:
    """Raises OSError, CertificateError."""
    with credential.path.open("rb") as stream:
        content = stream.read(FILE_BYTES_MAX)
    if credential.password is None:
        return pem_ends(content, of_bundle=credential.of_bundle)
    return pfx_ends(content, credential.password.reveal())
