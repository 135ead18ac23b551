"""Signatures as Binance wants them: HMAC-SHA256 as hex, Ed25519 as base64.

Pure but for the key files that `read_key` and `key_of` open. It builds no request.

Source: https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-api.md,
"Request security", read 2026-11-21 in the state of 2025-04-25.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, final
from urllib.parse import quote

from risk.brokers.binance.config import BinanceConfig
from tickd.errors import ConfigError
from tickd.late_secrets import LateSecret
from tickd.secrets import Secret, secret_from_file

__all__ = ["Key", "Params", "key_of", "read_key"]

Params = Mapping[str, str | int]

_PEM: Final = "-----BEGIN"


@final
class Key:
    """An API key and what signs for it; prints nothing of either.

    can_log_on: Ed25519 alone may authenticate a session once instead of every request.
    """

    __slots__ = ("_sign", "api_key", "can_log_on")

    def __init__(self, api_key: Secret, secret: Secret) -> None:
        """Raises ConfigError: the secret is no key that Binance takes."""
        self.api_key: Final = api_key
        self.can_log_on: Final = secret.reveal().lstrip().startswith(_PEM)
        self._sign: Final = _ed25519(secret) if self.can_log_on else _hmac(secret)

    def __repr__(self) -> str:
        return f"Key({'Ed25519' if self.can_log_on else 'HMAC'})"

    def signed(self, params: Params) -> dict[str, str | int]:
        """`params` of a WebSocket request with key and signature, which covers them sorted."""
        whole: dict[str, str | int] = {**params, "apiKey": self.api_key.reveal()}
        payload = "&".join(f"{name}={whole[name]}" for name in sorted(whole))
        whole["signature"] = self._sign(payload.encode())
        return whole

    def query(self, params: Params) -> str:
        """`params` of a REST request as a signed query.

        Escaped first, signed as sent: what is signed before escaping is refused since 2026-01-15.
        """
        payload = escaped(params)
        return f"{payload}&signature={quote(self._sign(payload.encode()), safe='')}"


def escaped(params: Params) -> str:
    """`params` as an unsigned query, in their own order."""
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in params.items())


def _hmac(secret: Secret) -> Callable[[bytes], str]:
    return lambda payload: hmac.new(secret.reveal().encode(), payload, hashlib.sha256).hexdigest()


def _ed25519(secret: Secret) -> Callable[[bytes], str]:
    try:
        # Of the extra `binance`: who signs by HMAC needs no library.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )
    except ImportError as error:
        raise ConfigError(
            "an Ed25519 key needs the package cryptography", hint="pip install 'tickd[binance]'"
        ) from error
    try:
        loaded: Any = load_pem_private_key(secret.reveal().encode(), password=None)
    except (ValueError, TypeError) as error:  # its words may hold a part of the file
        raise ConfigError("the secret key file is no unencrypted PEM private key") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ConfigError(
            f"a key of type {type(loaded).__name__} is not supported", hint="Ed25519 or HMAC"
        )
    private: Ed25519PrivateKey = loaded
    return lambda payload: b64encode(private.sign(payload)).decode()


def key_of(config: BinanceConfig) -> Key:
    """Return an account's credentials. Raises ConfigError: as `read_key`."""
    return Key(
        _read(config.api_key, config.api_key_file), _read(config.secret_key, config.secret_key_file)
    )


def _read(late: LateSecret | None, file: str) -> Secret:
    return secret_from_file(file) if late is None else late.secret()


def read_key(api_key_file: str, secret_key_file: str) -> Key:
    """Return the credentials of two files.

    Raises ConfigError: a file that is unreadable, empty or open to everybody, or no key.
    """
    return Key(secret_from_file(api_key_file), secret_from_file(secret_key_file))
