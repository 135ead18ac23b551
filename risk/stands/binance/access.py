"""Who may ask the stand-in: API key, signature, time. Its own code, so that it can judge ours.

Pure: texts and times in, a refusal out.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from typing import Any, Final

__all__ = ["Access", "Refused"]

Refused = tuple[int, int, str]  # HTTP status, code, words
BAD_KEY: Final[Refused] = (401, -2015, "Invalid API-key, IP, or permissions for action.")
BAD_SIGNATURE: Final[Refused] = (400, -1022, "Signature for this request is not valid.")
BAD_TIME: Final[Refused] = (400, -1021, "Timestamp for this request is outside of the recvWindow.")


class Access:
    """One API key, with an HMAC secret or an Ed25519 public key (PEM)."""

    def __init__(self, api_key: str, secret: str) -> None:
        self._api_key: Final = api_key
        self._secret: Final = secret
        self.is_ed25519: Final = secret.startswith("-----BEGIN PUBLIC KEY")
        self._public: Any = None
        if self.is_ed25519:
            from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - optional
                load_pem_public_key,
            )

            self._public = load_pem_public_key(secret.encode())

    def knows(self, api_key: str) -> bool:
        return api_key == self._api_key

    def check_call(self, params: dict[str, Any], now_ms: int) -> Refused | None:
        """Parameters of a WebSocket request, signed sorted by name."""
        if not self.knows(str(params.get("apiKey", ""))):
            return BAD_KEY
        payload = "&".join(
            f"{name}={params[name]}" for name in sorted(params) if name != "signature"
        )
        if not self._is_signed(payload, str(params.get("signature", ""))):
            return BAD_SIGNATURE
        return self.check_time(params, now_ms)

    def check_query(
        self, api_key: str, query: str, params: dict[str, str], now_ms: int
    ) -> Refused | None:
        """A REST query as it came over the wire, its signature last."""
        if not self.knows(api_key):
            return BAD_KEY
        payload, _, signature = query.partition("&signature=")
        if not self._is_signed(payload, params.get("signature", signature)):
            return BAD_SIGNATURE
        return self.check_time(params, now_ms)

    @staticmethod
    def check_time(params: dict[str, Any], now_ms: int) -> Refused | None:
        stamp, window = int(params.get("timestamp", 0)), int(params.get("recvWindow", 5_000))
        if stamp < now_ms + 1_000 and now_ms - stamp <= window:
            return None
        return BAD_TIME

    def _is_signed(self, payload: str, signature: str) -> bool:
        if self._public is None:
            made = hmac.new(self._secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
            return hmac.compare_digest(made, signature.lower())
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - optional

        try:
            self._public.verify(b64decode(signature), payload.encode())
        except (InvalidSignature, ValueError):
            return False
        return True
