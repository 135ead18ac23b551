"""The configuration of shipping: where to, how often, how fast, and what may be removed here.

Plain values with units and the relations between them. It opens nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from tickd.secrets import Secret

__all__ = ["ShipConfig"]

_URL: Final = re.compile(r"(s3|gs|az)://[^/@?#]+(/[^@?#]*)?|file:///[^@?#]*|memory://[^@?#]*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
# Of the stores' settings, those whose value opens the store: never as plain text.
_SECRET: Final = re.compile(r"secret|token$|^(account|access|sas|service_account|encryption)_key$")
# S3 takes no smaller part (but the last) and no more than 10,000 of them.
_PART_BYTES_MIN: Final = 5 << 20
_PART_BYTES_MAX: Final = 5 << 30


class ShipConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where sealed segments go; without `url` nothing is shipped and nothing removed."""

    url: str = ""
    # Every key begins with it and the node's number.
    prefix: str = "tickd"
    # Settings of the store by its own names: endpoint, region, service_account, account_name, …
    options: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    every_s: int = 3_600
    # `read`: every byte is read back and hashed; `size`: it is left to `tickd ship --verify`, and
    # until then nothing is removed here.
    verify: Literal["read", "size"] = "read"
    # 0: no limit. Of sending; reading back has a limit of its own of the same size.
    bandwidth_bytes_per_s: int = 0
    # A larger file goes in parts of this size, so many at once: what shipping holds in memory.
    part_bytes: int = 8 << 20
    parts_in_flight: int = 4
    # Of one request, one part; a transfer that stands still so long is given up.
    request_timeout_ms: int = 60_000
    # Spool files and quarantine are shipped when they did not change for so long.
    aside_age_s: int = 3_600
    # Not set: nothing is ever removed here, also not when the disk is full.
    keep_days: int | None = None
    # The newest segments of so many bytes stay, however old.
    keep_bytes_min: int = 0

    def __post_init__(self) -> None:
        if self.url and not _URL.fullmatch(self.url):
            raise ValueError(
                f"url {self.url!r} is not s3://, gs://, az:// or file:/// without user and query"
            )
        if not _PREFIX.fullmatch(self.prefix) or ".." in self.prefix.split("/"):
            raise ValueError(f"prefix {self.prefix!r} is not words separated by /")
        for name in self.options:
            if _SECRET.search(name):
                raise ValueError(f"options.{name} belongs into secrets")
        if both := self.options.keys() & self.secrets.keys():
            raise ValueError(f"{', '.join(sorted(both))}: in options and in secrets")
        if min(self.every_s, self.parts_in_flight, self.request_timeout_ms) <= 0:
            raise ValueError("every_s, parts_in_flight, request_timeout_ms: above 0")
        if min(self.bandwidth_bytes_per_s, self.aside_age_s, self.keep_bytes_min) < 0:
            raise ValueError("bandwidth_bytes_per_s, aside_age_s, keep_bytes_min: not below 0")
        if not _PART_BYTES_MIN <= self.part_bytes <= _PART_BYTES_MAX:
            raise ValueError(
                f"part_bytes {self.part_bytes} is not in {_PART_BYTES_MIN}..{_PART_BYTES_MAX}"
            )
        if self.keep_days is not None and self.keep_days < 0:
            raise ValueError("keep_days must not be below 0")

    @property
    def enabled(self) -> bool:
        return bool(self.url)
