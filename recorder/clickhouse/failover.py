"""Which of several servers takes the next call: the last one that worked.

It stays with a server for as long as that one answers, and moves on when it is unreachable, busy or
read-only; the servers are replicas of one another, so that a token means the same to each. Pure:
whoever calls reports what failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from recorder.clickhouse.endpoint import NO_PASSWORD, Endpoint
from recorder.clickhouse.tls import Tls
from recorder.config import ClickHouseConfig
from recorder.errors import ClickHouseError, ServerBusyError, ServerUnreachableError

__all__ = ["Failover", "configured"]

_log = structlog.get_logger(__name__)

# The query ran too long: the next server would not be faster, and this one may still be storing.
_SLOW: Final = frozenset({159, 160})
# A replica without its Keeper takes nothing; another may.
_READ_ONLY: Final = 242


def configured(config: ClickHouseConfig) -> tuple[Endpoint, ...]:
    """Return the servers that a configuration names by URL, the preferred one first."""
    user = config.user if config.user_secret is None else config.user_secret.reveal()
    password = config.password or NO_PASSWORD
    tls = Tls(config.ca_file, config.cert_file, config.key_file, config.verify)
    return tuple(Endpoint(url, user=user, password=password, tls=tls) for url in config.urls)


class Failover:
    """The servers of one configuration, one of them current."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        assert endpoints
        self._endpoints = tuple(endpoints)
        self._at = 0
        self._failed = 0  # servers in a row that did not do what was asked
        self.moves = 0

    @property
    def current(self) -> Endpoint:
        return self._endpoints[self._at]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._endpoints

    def worked(self) -> None:
        """Take note of a call that went well."""
        self._failed = 0

    def failed(self, endpoint: Endpoint, error: ClickHouseError) -> None:
        """Take note of a failed call; of several that failed together the first one counts.

        What this server asked to wait is no reason to let the next one wait; when all of them have
        failed in a row, it is.
        """
        if len(self._endpoints) == 1 or not _moves(error):
            return
        if endpoint == self.current:
            self._at = (self._at + 1) % len(self._endpoints)
            self._failed += 1
            self.moves += 1
            _log.warning(
                "clickhouse_moved", away_from=endpoint.url, to=self.current.url, why=str(error)
            )
        if self._failed < len(self._endpoints):
            error.retry_after_s = None


def _moves(error: ClickHouseError) -> bool:
    """Whether another server may well do what this one did not."""
    if error.code == _READ_ONLY:
        return True
    away = isinstance(error, ServerUnreachableError) and error.code not in _SLOW
    return error.scope == "server" and (away or isinstance(error, ServerBusyError))
