"""What an answer means: ClickHouse's error codes and HTTP's statuses as errors with an action.

By ClickHouse's own code wherever there is one, because the status is no guide: 500 is both "slow
down" and "never". Without a code the answer is a proxy's. Pure; it sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from recorder.errors import (
    AccessRefusedError,
    BlockRefusedError,
    ClickHouseError,
    Outcome,
    SchemaRefusedError,
    Scope,
    ServerBusyError,
    ServerUnreachableError,
)

__all__ = ["TEXT_MAX", "code_of", "error_of", "retry_after_s"]

TEXT_MAX: Final = 500
# Whoever asks for more than this has no plan either.
RETRY_AFTER_S_MAX: Final = 3_600.0
# Not just any "Code: 502": pages of proxies have that as well.
_CODE: Final = re.compile(r"\bCode: (\d+)[.,].{0,40}?DB::")
_TAG: Final = re.compile(r"<[^>]*>")
_SPACE: Final = re.compile(r"\s+")

_TOO_MANY_PARTS: Final = 252
_LOGIN: Final = "check clickhouse.user and its password"
_MIGRATE: Final = "run: tickd migrate"
_HINTS: Final = {
    **dict.fromkeys((16, 60, 81), _MIGRATE),
    **dict.fromkeys((164, 192, 193, 194, 472, 516), _LOGIN),
    497: "this user lacks a right",
}


class _Verdict(NamedTuple):
    kind: type[ClickHouseError]
    outcome: Outcome
    scope: Scope


# Simultaneous queries, overload: refused before anything is done.
_BUSY_BEFORE: Final = dict.fromkeys((202, 745), _Verdict(ServerBusyError, "refused", "server"))
# Memory, no space on the server's disk: perhaps in the middle, with the table written and a view
# not yet.
_BUSY_INSIDE: Final = dict.fromkeys((241, 243), _Verdict(ServerBusyError, "unknown", "server"))
# Too many parts: of this table, or of a view's target behind it when the table has its rows.
_BUSY_TABLE: Final = {_TOO_MANY_PARTS: _Verdict(ServerBusyError, "unknown", "table")}
# A replica that has lost its Keeper, a table that is being restored: others may well be fine.
_AWAY_TABLE: Final = {242: _Verdict(ServerUnreachableError, "unknown", "table")}
# Of one table: no such column, identifier, table, wrong statement, dropped.
_SCHEMA_TABLE: Final = dict.fromkeys(
    (16, 20, 36, 47, 60, 62, 80, 218), _Verdict(SchemaRefusedError, "refused", "table")
)
# Of everything: no such database, setting (an older server), feature.
_SCHEMA_SERVER: Final = dict.fromkeys(
    (81, 115, 344), _Verdict(SchemaRefusedError, "refused", "server")
)
_ACCESS: Final = dict.fromkeys(
    (164, 192, 193, 194, 472, 497, 516), _Verdict(AccessRefusedError, "refused", "server")
)
# Cannot parse, out of bound, incorrect data, overflow, constraint, type mismatch, too many bytes;
# and what is left of a body that was damaged on the way: ends early, does not unpack.
_DATA: Final = frozenset(
    {6, 26, 27, 33, 38, 40, 41, 53, 69, 70, 72, 117, 271, 307, 349, 354, 407, 457, 469, 561, 618}
)
_VERDICTS: Final = {
    **_BUSY_BEFORE,
    **_BUSY_INSIDE,
    **_BUSY_TABLE,
    **_AWAY_TABLE,
    **_SCHEMA_TABLE,
    **_SCHEMA_SERVER,
    **_ACCESS,
}
# Time-outs (159, 160, 209, 210), 319, Keeper (999), and whatever a later version invents.
_OPEN: Final = _Verdict(ServerUnreachableError, "unknown", "server")

_TOO_MANY_REQUESTS: Final = 429
_BUSY_STATUS: Final = frozenset({_TOO_MANY_REQUESTS, 503})
_ACCESS_STATUS: Final = frozenset({401, 403, 407})
_TOO_LARGE_STATUS: Final = 413
# A status that says: whatever answers here, it is not ClickHouse.
_ELSEWHERE_STATUS: Final = frozenset({301, 302, 303, 307, 308, 404, 405, 410})


def error_of(
    code: int | None,
    text: str,
    *,
    status: int | None = None,
    retry_after_s: float | None = None,
) -> ClickHouseError:
    """Return the error for an answer that is no success.

    Args: `status`: of HTTP; counts only without a code. Unknown codes are retried: sending a block
    once more is harmless, throwing it away is not.
    """
    if code is None:
        return _error_of_status(status, text, retry_after_s)
    message = text.strip()[:TEXT_MAX]
    # One code for "slow down" and for "never": only the words differ.
    never = code == _TOO_MANY_PARTS and "Too many partitions" in text
    if never or code in _DATA:
        return BlockRefusedError(message, code=code)
    kind, outcome, scope = _VERDICTS.get(code, _OPEN)
    return kind(
        message,
        code=code,
        hint=_HINTS.get(code),
        outcome=outcome,
        retry_after_s=retry_after_s,
        scope=scope,
    )


def code_of(text: str, named: str | None) -> int | None:
    """Return ClickHouse's code: what the header says, else what the text says.

    Args: `named`: X-ClickHouse-Exception-Code, which proxies drop.
    """
    if named and named.isdecimal():
        return int(named)
    found = _CODE.search(text)
    return int(found[1]) if found else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return what Retry-After asks for, seconds; None when it is absent or makes no sense.

    Its form with a date is read against the answer's own date, so that no clock of ours counts.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value), RETRY_AFTER_S_MAX)
    try:
        until, now = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("Date", ""))
        seconds = (until - now).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)


def _error_of_status(status: int | None, text: str, retry_after_s: float | None) -> ClickHouseError:
    words = _SPACE.sub(" ", _TAG.sub(" ", text)).strip()  # proxies answer in HTML
    said = "no code of ClickHouse" if status is None else f"HTTP status {status}"
    message = f"{said}: {words}"[:TEXT_MAX]
    if status in _BUSY_STATUS:
        # 429 comes before the request is looked at; 503 also from a proxy that lost its server.
        outcome: Outcome = "refused" if status == _TOO_MANY_REQUESTS else "unknown"
        return ServerBusyError(message, retry_after_s=retry_after_s, outcome=outcome)
    if status in _ACCESS_STATUS:
        return AccessRefusedError(message, hint=_LOGIN, outcome="refused")
    if status == _TOO_LARGE_STATUS:
        hint = "a proxy limits bodies: raise its limit, or lower sink.block_bytes_max"
        return AccessRefusedError(message, hint=hint, outcome="refused")
    if status in _ELSEWHERE_STATUS:
        hint = "what answers there is no ClickHouse: is clickhouse.url right?"
        return ServerUnreachableError(message, hint=hint, outcome="refused")
    return ServerUnreachableError(message, retry_after_s=retry_after_s)
