"""Where a ClickHouse is and how one gets in: what the configuration or the embedded server says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from recorder.clickhouse.tls import Tls
from tickd.secrets import Secret

__all__ = ["NO_PASSWORD", "Endpoint"]

NO_PASSWORD: Final = Secret("")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server.

    `embedded`: the password is the key of the HTTP interface; the engine behind it knows none.
    """

    url: str
    user: str = "default"
    password: Secret = field(default=NO_PASSWORD)
    embedded: bool = False
    tls: Tls = field(default=Tls())

    @property
    def by_certificate(self) -> bool:
        """Whether the certificate alone says who this is."""
        return self.tls.cert_file is not None and not self.password

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries; never in the URL, which ends up in logs."""
        headers = {"X-ClickHouse-User": self.user}
        if self.by_certificate:
            headers["X-ClickHouse-SSL-Certificate-Auth"] = "on"
        elif self.password:
            headers["X-ClickHouse-Key"] = self.password.reveal()
        return headers

    @property
    def engine_password(self) -> str:
        """What a table function or dictionary inside the server needs to read its own tables."""
        return "" if self.embedded else self.password.reveal()
