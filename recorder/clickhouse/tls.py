"""TLS of a connection to ClickHouse: whom to trust, and with which certificate to show up."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from tickd.errors import ConfigError

__all__ = ["Tls"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM; `verify` False trusts whoever answers: for a test server only."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return the context of these files. Raises ConfigError when one of them is unusable."""
        context = ssl.create_default_context()
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.ca_file is not None:
                context.load_verify_locations(self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise ConfigError(
                f"clickhouse: cannot use {files}: {error}",
                hint="ca_file, cert_file and key_file are PEM files that tickd may read",
            ) from error
        return context
