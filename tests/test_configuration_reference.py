"""docs/configuration.md against the structs it describes: every key, its type and its default.

Method: each section's table is read from the page and compared with the struct's fields, so that
neither can change alone. What a key means is for people to check.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from gateway.config import (
    FillConfig,
    SdkConfig,
    SubscriptionConfig,
    UniverseConfig,
    VenueConfig,
)
from recorder.sinks.jsonl.config import JsonlConfig
from risk.brokers.binance.config import BinanceConfig
from risk.brokers.paper.config import PaperConfig, PaperFaults
from risk.brokers.registry import BROKER_NAMES
from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.limits import LimitConfig, VenueLimitConfig
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from tickd.app.config import Config
from tickd.late_secrets import LateSecret
from tickd.secrets import Secret

PAGE = Path(__file__).parents[1] / "docs/configuration.md"
LISTS: dict[str, type[msgspec.Struct]] = {
    "[[venues]]": VenueConfig,
    "[venues.fill]": FillConfig,
    "[venues.sdk]": SdkConfig,
    "[[subscriptions]]": SubscriptionConfig,
    "[[universes]]": UniverseConfig,
    '[[sinks]] "jsonl"': JsonlConfig,
    "[[risk.limits]]": LimitConfig,
    "[[risk.venues]]": VenueLimitConfig,
    '[[accounts]] "paper"': PaperConfig,
    "[accounts.faults]": PaperFaults,
    '[[accounts]] "binance"': BinanceConfig,
    '[[accounts]] "shioaji"': ShioajiAccountConfig,
    "[[strategies]]": StrategyConfig,
    "[[indicators]]": IndicatorConfig,
}
WORDS = {int: "integer", float: "number", str: "text", bool: "boolean"}
WORDS |= {Secret: "secret", LateSecret: "secret"}


def sections() -> dict[str, type[msgspec.Struct]]:
    return {**dict(tables(Config)), **LISTS}


def tables(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, type]]:
    """Tables, and the tables in tables."""
    for name, kind in get_type_hints(struct).items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield f"[{path}{name}]", kind
            yield from tables(kind, f"{path}{name}.")


def is_list_of_tables(kind: Any) -> bool:
    """A tuple of structs, or of a union of them: each has a section of its own."""
    if get_origin(kind) is not tuple:
        return False
    first = get_args(kind)[0]
    members = get_args(first) or (first,)
    return all(isinstance(each, type) and issubclass(each, msgspec.Struct) for each in members)


def lists_of_tables(struct: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    """Names of the lists of tables in a struct and in its tables."""
    for name, kind in get_type_hints(struct).items():
        if is_list_of_tables(kind):
            yield path + name
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from lists_of_tables(kind, f"{path}{name}.")


def word(kind: Any) -> str:
    if kind in WORDS:
        return WORDS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(word(each) for each in inner if each is not type(None))
    if origin is tuple:
        return f"list of {word(inner[0])}"
    assert issubclass(origin, Mapping), kind
    return "table"


def default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is msgspec.NODEFAULT:
        return "required"
    if value is None:
        return "not set"
    return f"`{msgspec.json.encode(value).decode()}`"


def described(text: str) -> dict[str, dict[str, tuple[str, str, str]]]:
    """Section -> key -> (type, default, meaning), as the page has them."""
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for title, body in re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", body, re.MULTILINE)
        found[title] = {key: (kind, value, meaning) for key, kind, value, meaning in rows}
    return found


def rows_of(struct: type[msgspec.Struct]) -> Iterator[tuple[str, str, str]]:
    for field in msgspec.structs.fields(struct):
        is_table = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        if not is_table and not is_list_of_tables(field.type):
            yield field.encode_name, word(field.type), default(field)


def test_page_has_exactly_the_sections() -> None:
    assert set(described(PAGE.read_text())) == set(sections())


@pytest.mark.parametrize("title", sections())
def test_every_key_is_described_with_its_type_and_default(title: str) -> None:
    page = {
        key: (kind, value) for key, (kind, value, _) in described(PAGE.read_text())[title].items()
    }
    assert page == {key: (kind, value) for key, kind, value in rows_of(sections()[title])}


def test_every_list_of_tables_is_on_the_page() -> None:
    """A new kind of table must not be forgotten: what is no single table is a list, named above."""
    lists = set(lists_of_tables(Config))
    assert lists == {title.split("]")[0].strip("[") for title in LISTS if title.startswith("[[")}
    assert {"risk.limits", "venues"} < lists
    accounts = {title for title in LISTS if title.startswith("[[accounts]]")}
    assert accounts == {f'[[accounts]] "{name}"' for name in BROKER_NAMES}
