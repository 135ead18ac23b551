"""The object store as shipping sees it: a few verbs over keys, errors by kind.

The only importer of obstore. An object appears under its key whole or not at all, and never in the
place of another: small ones by a conditional create, large ones by a multipart upload to a staging
key and a conditional copy. It knows no segments and no manifest.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import LocalStore, MemoryStore, from_url
from typing_extensions import Buffer

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ObjectExistsError, ShipError
from tickd.errors import ConfigError

if TYPE_CHECKING:  # obstore's types exist for checkers only
    from obstore.store import ObjectStore

__all__ = ["Bucket", "Stat", "open_bucket"]

# Of reading back: some 200 µs of hashing, and few enough requests.
_PIECE_BYTES: Final = 4 << 20
_RETRIES: Final = 4
_WORDS_MAX: Final = 300
_QUERY: Final = re.compile(r"\?[^\s)\"']*")


class Stat(NamedTuple):
    """An object as the store describes it."""

    key: str
    bytes: int
    e_tag: str | None
    modified: datetime


def open_bucket(config: ShipConfig) -> Bucket:
    """Return the store of a configuration; connects to nothing.

    Raises ConfigError: the store refuses the settings.
    """
    secrets = {name: secret.reveal() for name, secret in config.secrets.items()}
    timeout = timedelta(milliseconds=config.request_timeout_ms)
    try:
        if config.url.startswith("file://"):
            path = Path(config.url.removeprefix("file://"))
            path.mkdir(parents=True, exist_ok=True)
            store: Any = LocalStore(path)
        elif config.url.startswith("memory://"):
            store = MemoryStore()
        else:
            settings: Any = {}  # by the store's own names
            if config.url.startswith("s3://"):
                # S3 has no conditional copy of its own; a multipart copy's completion is one.
                settings["copy_if_not_exists"] = "multipart"
            settings |= config.options | secrets
            store = from_url(
                config.url,
                config=settings,
                client_options={
                    "timeout": timeout,
                    "connect_timeout": min(timeout, timedelta(seconds=5)),
                    "allow_http": settings.get("endpoint", "").startswith("http://"),
                },
                retry_config={"max_retries": _RETRIES, "retry_timeout": 2 * timeout},
            )
    except (BaseError, OSError, ValueError, TypeError) as error:
        words = _without(str(error), secrets.values())
        raise ConfigError(
            f"ship.url {config.url}: {words}",
            hint="ship.options and ship.secrets take the store's own names",
        ) from None  # the original's words may hold what ours leave out
    return Bucket(config, store, tuple(secrets.values()))


class Bucket:
    """One store. Every method raises ShipError; cancelling one leaves no object under its key."""

    def __init__(self, config: ShipConfig, store: ObjectStore, secrets: tuple[str, ...]) -> None:
        self.url = config.url
        self._config = config
        self._store = store
        self._secrets = secrets
        self._timeout_s = config.request_timeout_ms / 1000

    async def stat(self, key: str) -> Stat | None:
        """The object, None when there is none."""
        try:
            with self._asking("look at", key):
                async with asyncio.timeout(self._patience_s):
                    return _stat(await obstore.head_async(self._store, key))
        except ShipError as error:
            if error.kind == "missing":
                return None
            raise

    async def create(self, key: str, content: bytes) -> str | None:
        """Store a small object; return its e_tag. Raises ObjectExistsError: one is there."""
        with self._asking("create", key, writes=True):
            async with asyncio.timeout(self._patience_s):
                return (await obstore.put_async(self._store, key, content, mode="create"))["e_tag"]

    async def upload(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Store a large object in parts, replacing what is there: for staging keys only.

        An error that `pieces` raises passes through, and the store forgets the parts.
        """
        with self._asking("upload", key, writes=True):
            async with asyncio.timeout(self._patience_s) as deadline:

                async def fed() -> AsyncIterator[bytes]:
                    loop = asyncio.get_running_loop()
                    deadline.reschedule(None)  # what `pieces` waits for is not the store's fault
                    async for piece in pieces:
                        deadline.reschedule(loop.time() + self._patience_s)
                        yield piece
                        deadline.reschedule(None)
                    deadline.reschedule(loop.time() + self._patience_s)

                await obstore.put_async(
                    self._store,
                    key,
                    fed(),
                    use_multipart=True,
                    chunk_size=self._config.part_bytes,
                    max_concurrency=self._config.parts_in_flight,
                )

    async def copy_new(self, source: str, key: str) -> None:
        """Copy within the store. Raises ObjectExistsError: an object is there already."""
        with self._asking("copy to", key):
            async with asyncio.timeout(self._patience_s):
                await obstore.copy_async(self._store, source, key, overwrite=False)

    async def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        with self._asking("delete", key):
            async with asyncio.timeout(self._patience_s):
                await obstore.delete_async(self._store, key)

    async def read(self, key: str, size: int, offset: int = 0) -> AsyncIterator[Buffer]:
        """Yield the bytes [offset, size) of an object in pieces of some MiB.

        A request per piece: the time limit of a request covers its whole body.
        """
        while offset < size:
            length = min(_PIECE_BYTES, size - offset)
            with self._asking("read", key):
                async with asyncio.timeout(self._patience_s):
                    piece = await obstore.get_range_async(
                        self._store, key, start=offset, length=length
                    )
            if len(piece) == 0:
                raise ShipError(f"read {key}: ends at {offset} of {size} bytes", kind="corrupted")
            offset += len(piece)
            yield piece

    async def read_whole(self, key: str, size: int) -> bytes:
        """All bytes of a small object."""
        return b"".join([bytes(piece) async for piece in self.read(key, size)])

    async def list(self, prefix: str) -> list[Stat]:
        """Every object whose key begins with `prefix`, a folder, by key."""
        with self._asking("list", prefix):
            async with asyncio.timeout(self._patience_s):
                found = await obstore.list(self._store, prefix.rstrip("/")).collect_async()
        return sorted(map(_stat, found))

    @property
    def _patience_s(self) -> float:
        """The store's own retries have an end of their own; this one is for what never answers."""
        return 3 * self._timeout_s

    @contextmanager
    def _asking(self, doing: str, key: str, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError:
            raise ObjectExistsError(key) from None
        except FileNotFoundError:
            if writes:
                raise ShipError(
                    f"{doing} {key}: {self.url} is not there", kind="refused", hint="ship.url"
                ) from None
            raise ShipError(f"{key} is not in {self.url}", kind="missing") from None
        except TimeoutError:
            raise ShipError(
                f"{doing} {key}: no answer in {self._patience_s:.0f} s", kind="stalled"
            ) from None
        except (PermissionDeniedError, UnauthenticatedError, UnknownConfigurationKeyError) as error:
            raise ShipError(
                f"{doing} {key}: {self._words(error)}",
                kind="refused",
                hint="look at ship.secrets, and at the rights of that user in the store",
            ) from None
        except (NotSupportedError, NotImplementedError, PreconditionError) as error:
            raise ShipError(
                f"{doing} {key}: {self._words(error)}",
                kind="refused",
                hint="the store lacks conditional copies: see ship.options.copy_if_not_exists",
            ) from None
        except (BaseError, OSError) as error:
            raise ShipError(f"{doing} {key}: {self._words(error)}", kind="unreachable") from None

    def _words(self, error: Exception) -> str:
        return _without(str(error), self._secrets)


def _stat(meta: Any) -> Stat:
    return Stat(meta["path"], int(meta["size"]), meta["e_tag"], meta["last_modified"])


def _without(words: str, secrets: Any) -> str:
    """One line for people: no credentials, no signed queries, no dump of the library's insides."""
    text = words.split("\n\nDebug source", 1)[0]
    for secret in secrets:
        text = text.replace(secret, "***")
    text = " ".join(_QUERY.sub("?…", text).split())
    return text if len(text) <= _WORDS_MAX else text[:_WORDS_MAX] + " …"
