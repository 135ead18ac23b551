"""The table `[http]`: where the operator's port listens, who may ask, and what it may not be.

A port that others can reach asks for a token over TLS, or the configuration is refused. It opens
nothing.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import msgspec

from tickd.secrets import Secret

__all__ = ["HttpConfig", "is_loopback"]

# Of RFC 6750: what can stand behind `Authorization: Bearer`.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
TOKEN_CHARACTERS_MIN: Final = 16


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The operator's HTTP port. port 0: the kernel picks; `tickd status` says which.

    token: all but /healthz asks for it. insecure: others may reach the port without token or TLS.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 9464
    token: Secret | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("http.cert_file and http.key_file belong together")
        if self.token is not None:
            self._check_token(self.token.reveal())
        if self.lacks and not self.insecure:
            raise ValueError(
                f"http.host {self.host!r} can be reached by others and has no {self.lacks}: give"
                " it token, cert_file and key_file, or 127.0.0.1; insecure = true listens all the"
                " same"
            )

    @staticmethod
    def _check_token(token: str) -> None:
        """Say nothing of it but what is wrong."""
        if len(token) < TOKEN_CHARACTERS_MIN:
            raise ValueError(
                f"http.token has {len(token)} characters, at least {TOKEN_CHARACTERS_MIN}"
            )
        if not _TOKEN.fullmatch(token):
            raise ValueError("http.token holds other than letters, digits and - . _ ~ + / =")

    @property
    def lacks(self) -> str:
        """What a port that others can reach should have and has not, in words; else empty."""
        if not self.enabled or is_loopback(self.host):
            return ""
        missing = [] if self.token is not None else ["token"]
        missing += [] if self.cert_file is not None else ["TLS"]
        return " and no ".join(missing)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a host; a name that must be looked up may be any."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
