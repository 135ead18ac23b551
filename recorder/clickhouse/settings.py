"""Settings of the server that go with inserts and questions: safe defaults, and what is refused.

Whatever ClickHouse knows may be given; refused is what would break "exactly once": answers before
the rows are stored, tokens that do not count, rows that are dropped silently. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

__all__ = [
    "SettingValue",
    "check_insert_settings",
    "check_query_settings",
    "insert_settings",
    "said",
]

SettingValue = str | int | float | bool

# tickd cuts blocks itself, so the server must not collect (it does by default), and where it is
# told to, it must answer afterwards. Views: a repeat must reach the bars that its first attempt did
# not, and no bar twice.
_INSERT_DEFAULTS: Final = {
    "async_insert": "0",
    "wait_for_async_insert": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
}
# Without it a collected insert forgets its token on servers before 26.2.
_COLLECTED: Final = {"async_insert_deduplicate": "1"}
# Belong to a request, not to a configuration: tickd sets them itself.
_OURS: Final = frozenset(
    {
        "insert_deduplication_token", "wait_end_of_query", "query", "query_id", "database",
        "session_id", "session_timeout", "session_check", "default_format", "user", "password",
        "compress", "decompress",
    }
)  # fmt: skip
_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false", ""})
# A block of the sink has at most 500,000 rows; an insert of more blocks than one is not atomic.
_BLOCK_ROWS_LEAST: Final = 500_000


def insert_settings(given: Mapping[str, SettingValue]) -> dict[str, str]:
    """Return what goes with every insert: the defaults and what is configured."""
    settings = {**_INSERT_DEFAULTS, **{name: said(value) for name, value in given.items()}}
    if _is_on(settings["async_insert"]):
        return {**settings, **_COLLECTED}
    return settings


def check_insert_settings(given: Mapping[str, SettingValue]) -> None:
    """Refuse what would break "exactly once". Raises ValueError."""
    _check_names(given, "settings")
    for name, (allowed, why) in _MUST.items():
        if name in given and not allowed(said(given[name])):
            raise ValueError(f"settings.{name} = {said(given[name])}: {why}")


def check_query_settings(given: Mapping[str, SettingValue]) -> None:
    """Refuse what belongs to a request. Raises ValueError."""
    _check_names(given, "query_settings")


def said(value: SettingValue) -> str:
    """Return a value as ClickHouse reads it in a URL."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _check_names(given: Mapping[str, SettingValue], table: str) -> None:
    for name in given:
        if not name.replace("_", "").isalnum() or name != name.strip().lower():
            raise ValueError(f"{table}.{name} is not the name of a setting")
        if name in _OURS or name.startswith("param_"):
            raise ValueError(f"{table}.{name}: tickd sets it itself, for each request")


def _is_on(text: str) -> bool:
    return text.lower() in _TRUE


def _is_off(text: str) -> bool:
    try:
        return text.lower() in _FALSE or float(text) == 0
    except ValueError:
        return False


def _holds_a_block(text: str) -> bool:
    return text.isdecimal() and int(text) >= _BLOCK_ROWS_LEAST


def _enables(text: str) -> bool:
    return text == "enable"


_TOKENS: Final = "without tokens a repeat after an open outcome is stored twice"
_EARLY: Final = "the server would say yes before the rows are stored"
_DROPS: Final = "the server would drop rows and say yes"
_SPLITS: Final = f"below {_BLOCK_ROWS_LEAST:,} an insert is stored in pieces, and a failed one half"
_MUST: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "wait_for_async_insert": (_is_on, _EARLY),
    "insert_deduplicate": (_is_on, _TOKENS),
    "deduplicate_insert": (_enables, _TOKENS),
    "async_insert_deduplicate": (_is_on, _TOKENS),
    "deduplicate_blocks_in_dependent_materialized_views": (_is_on, "a repeat would miss bars"),
    "input_format_allow_errors_num": (_is_off, _DROPS),
    "input_format_allow_errors_ratio": (_is_off, _DROPS),
    "materialized_views_ignore_errors": (_is_off, "bars would miss trades silently"),
    "ignore_materialized_views_with_dropped_target_table": (
        _is_off,
        "bars would miss trades silently",
    ),
    "max_insert_block_size": (_holds_a_block, _SPLITS),
}
