"""The metric of credentials that end: until when the certificates in use are good.

Files are read once, at the start, as those who use them do. A broker's bundle (.pfx) is opened
where `cryptography` is installed; without it, and for a file that cannot be read, there is no
figure: whoever uses the file says what is wrong with it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from risk.brokers.shioaji.config import ShioajiAccountConfig
from tickd.app.config import Config
from tickd.telemetry.metrics import Metrics, Values

__all__ = ["certificate_end", "declare_credentials", "ends_of"]

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_TIMES: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


def declare_credentials(metrics: Metrics, config: Config) -> None:
    """Declare the end of each certificate that the configuration names."""
    ends: Values = ends_of(config)
    metrics.read_gauge(
        "tickd_app_credential_expiry_timestamp_seconds",
        "When a certificate ends: `http`, or the account whose it is (kind).",
        lambda: ends,
        ("kind",),
    )


def ends_of(config: Config) -> dict[tuple[str, ...], float]:
    """By `http` or an account's name: when its certificate ends, s since the epoch."""
    found: dict[tuple[str, ...], float] = {}
    if path := str(getattr(config.http, "cert_file", "") or ""):
        _add(found, "http", path, b"")
    for account in config.accounts:
        if isinstance(account, ShioajiAccountConfig) and account.ca_path:
            secret = account.ca_password
            password = secret.reveal().encode() if secret is not None else b""
            _add(found, account.name, account.ca_path, password)
    return found


def _add(found: dict[tuple[str, ...], float], name: str, path: str, password: bytes) -> None:
    try:
        data = Path(path).read_bytes()
        end = certificate_end(data) if b"-----BEGIN" in data else _bundle_end(data, password)
    except (OSError, ValueError):
        return
    if end is not None:
        found[name,] = end


def _bundle_end(data: bytes, password: bytes) -> float | None:
    """Of a PKCS#12 bundle. Raises ValueError for a wrong password or other bytes."""
    try:
        from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    certificate = pkcs12.load_pkcs12(data, password).cert
    return None if certificate is None else certificate.certificate.not_valid_after_utc.timestamp()


def certificate_end(pem: bytes) -> float:
    """When the first certificate of `pem` ends, s since the epoch. Raises ValueError.

    Certificate → tbsCertificate → (version), serial, algorithm, issuer, validity → notAfter.
    Source: RFC 5280, section 4.1.
    """
    text = pem.decode("ascii")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in text or end not in text:
        raise ValueError("no certificate")
    first = text[text.index(begin) : text.index(end) + len(end)]
    ((_, certificate), *_) = _parts(ssl.PEM_cert_to_DER_cert(first))
    ((_, signed), *_) = _parts(certificate)
    fields = [(tag, value) for tag, value in _parts(signed) if tag != _VERSION]
    if len(fields) < 4 or fields[3][0] != _SEQUENCE:
        raise ValueError("no validity where a certificate has it")
    *_, (tag, moment) = _parts(fields[3][1])
    if tag not in _TIMES:
        raise ValueError(f"time of type {tag}")
    return datetime.strptime(moment.decode("ascii"), _TIMES[tag]).replace(tzinfo=UTC).timestamp()


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of each DER element. Raises ValueError for what is cut off."""
    at = 0
    while at < len(data):
        head = data[at : at + 2]
        at += 2
        if len(head) < 2:
            raise ValueError("a certificate that is cut off")
        size = head[1]
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("a certificate that is cut off")
        yield head[0], data[at : at + size]
        at += size
