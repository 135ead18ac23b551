"""`[tracing]`: whether batches are traced, which of them, and who is told."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickd.secrets import Secret

__all__ = ["TracingConfig"]


class TracingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Off, the daemon has no trace of tracing: no stamp is taken and nothing is imported.

    ratio: share of batches traced, chosen by frame number, so that every process chooses the same
    ones. slow_ms: from the socket to the bus, or to the end of a strategy's callbacks; a batch that
    takes as long is traced in any case, as is one that made a strategy ask for an order;
    forced_per_s_max bounds both. endpoint: of an OTLP collector; empty: traces stay here, for
    `tickd trace`. headers: `name=value,name=value`.
    """

    enabled: bool = False
    ratio: float = 0.01
    slow_ms: float = 20.0
    forced_per_s_max: int = 50
    endpoint: str = ""
    protocol: Literal["http", "grpc"] = "http"
    headers: Secret | None = None
    timeout_ms: int = 5_000
    queue_spans_max: int = 8_192
    service_name: str = "tickd"

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio <= 1.0:
            raise ValueError(f"tracing.ratio is {self.ratio}, 0.0 to 1.0 possible")
        if not self.slow_ms > 0:
            raise ValueError("tracing.slow_ms must be above 0")
        if not 0 <= self.forced_per_s_max <= 1_000:
            raise ValueError("tracing.forced_per_s_max: 0 to 1000")
        if not 1 <= self.timeout_ms <= 60_000:
            raise ValueError("tracing.timeout_ms: 1 to 60000")
        if not 64 <= self.queue_spans_max <= 1 << 20:
            raise ValueError("tracing.queue_spans_max: 64 to 1048576")
        if not self.service_name:
            raise ValueError("tracing.service_name is empty")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("tracing.endpoint begins with http:// or https://, for gRPC, too")
        header_pairs(self.headers)


def header_pairs(headers: Secret | None) -> dict[str, str]:
    """Return the headers by name. Raises ValueError without showing them."""
    pairs = {}
    for part in headers.reveal().split(",") if headers is not None else ():
        name, sign, value = part.partition("=")
        if not name.strip() or not sign:
            raise ValueError("tracing.headers is not name=value,name=value")
        pairs[name.strip().lower()] = value.strip()
    return pairs
