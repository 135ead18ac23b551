"""The doctor's look at credentials: files named in the configuration, their rights and their age.

It reads certificates, never keys: of a secret's file only what `stat` tells, and whether it opens.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tickd.app.findings import Finding, fail, ok, warn
from tickd.app.machine_checks import errno_words
from tickd.secrets import HIDDEN

__all__ = ["CredentialFile", "check_credentials", "credential_files", "expiry_of"]

EXPIRES_DAYS: Final = 21
CERTIFICATE_BYTES_MAX: Final = 1 << 20
# Keys of the configuration that name a file by themselves; `{ file = "…" }` is one anywhere.
_PATH_KEYS: Final = ("_file", "ca_path")
_PUBLIC: Final = ("ca_file", "cert_file")
_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+(.+?)\s+-----END CERTIFICATE-----", re.DOTALL
)


class CredentialFile(NamedTuple):
    """A file and where it is named; `public`: a certificate, others may read it."""

    key: str
    path: Path
    public: bool


def credential_files(tree: Mapping[str, Any]) -> list[CredentialFile]:
    """Every file that a parsed configuration file names as a secret, key or certificate."""
    return list(_walk(tree, ""))


def _walk(node: object, where: str) -> Iterator[CredentialFile]:
    if isinstance(node, list):
        for number, entry in enumerate(node):
            name = entry.get("name", number) if isinstance(entry, Mapping) else number
            yield from _walk(entry, f"{where}.{name}")
    elif isinstance(node, Mapping):
        if set(node) == {"file"} and isinstance(node["file"], str):
            yield CredentialFile(where.lstrip("."), Path(node["file"]), public=False)
            return
        for key, value in node.items():
            inner = f"{where}.{key}"
            if isinstance(value, str) and value and key.endswith(_PATH_KEYS):
                yield CredentialFile(inner.lstrip("."), Path(value), public=key in _PUBLIC)
            else:
                yield from _walk(value, inner)


def check_credentials(tree: Mapping[str, Any], wall_ns: int) -> list[Finding]:
    """Each file: is it there, may we read it, may others not, does it expire."""
    return [_check(each, wall_ns) for each in credential_files(tree)]


def _check(file: CredentialFile, wall_ns: int) -> Finding:
    name = f"file {file.key}"
    path = file.path
    try:
        status = path.stat()
        with path.open("rb") as stream:
            content = stream.read(CERTIFICATE_BYTES_MAX) if file.public else b""
    except PermissionError as error:
        remedy = f"chown it to uid {os.geteuid()}, or LoadCredential= in the unit"
        return fail(name, f"{path}: {errno_words(error)}", remedy)
    except OSError as error:
        # Of several words, and not there: it may be the secret itself.
        shown = HIDDEN if len(str(path).split()) > 1 else path
        return fail(name, f"{shown}: {errno_words(error)}", "is the path right?")
    mode = stat.S_IMODE(status.st_mode)
    words = f"{path}, mode {mode:04o}, uid {status.st_uid}"
    if not file.public and mode & 0o007:
        return fail(name, f"{words}: everybody may open it", f"chmod 600 {path}")
    if not file.public and mode & 0o070:
        return warn(name, f"{words}: its group may open it", f"chmod 600 {path}")
    if status.st_uid not in (0, os.geteuid()):
        owner = f"{words}: another user's, who may change it"
        return warn(name, owner, f"chown {os.geteuid()} {path}")
    return _aged(name, words, expiry_of(content), wall_ns)


def _aged(name: str, words: str, expires: float | None, wall_ns: int) -> Finding:
    if expires is None:
        return ok(name, words)
    days = (expires - wall_ns / 1e9) / 86_400
    words += f", until {datetime.fromtimestamp(expires, UTC):%Y-%m-%d}"
    if days < 0:
        return fail(name, f"{words}: expired", "a new certificate")
    if days < EXPIRES_DAYS:
        return warn(name, f"{words}: {days:.0f} days", "a new certificate")
    return ok(name, words)


def expiry_of(content: bytes) -> float | None:
    """Return when the first of PEM certificates to expire does, Unix time; None: none is in it."""
    times = []
    for match in _PEM.finditer(content):
        try:
            times.append(_not_after(base64.b64decode(match[1])))
        except (binascii.Error, ValueError, IndexError):
            continue  # whoever uses the file says what is wrong with it
    return min(times, default=None)


def _not_after(der: bytes) -> float:
    """The end of a certificate's validity, RFC 5280 4.1.

    Raises ValueError and IndexError for what is no certificate.
    """
    _, certificate, _ = _element(der, 0)
    _, body, _ = _element(certificate, 0)
    at = 0
    tag, _, end = _element(body, at)
    if tag == 0xA0:  # the version, which is optional
        at = end
    for _ in range(3):  # serial number, algorithm, issuer
        _, _, at = _element(body, at)
    _, validity, _ = _element(body, at)
    _, _, at = _element(validity, 0)
    tag, value, _ = _element(validity, at)
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
    return datetime.strptime(value.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """(tag, content, where the next one begins) of the DER element at `at`."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        digits = length & 0x7F
        length = int.from_bytes(data[start : start + digits], "big")
        start += digits
    if start + length > len(data):
        raise ValueError("cut off")
    return tag, data[start : start + length], start + length
