"""docs/brokers/binance.md against the struct: every key, its type and its default."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from risk.brokers.binance.config import BinanceConfig
from tests.test_configuration_reference import rows_of
from tickd.config import parse

PAGE = Path(__file__).parents[5] / "docs/brokers/binance.md"


class Accounts(msgspec.Struct):
    accounts: tuple[BinanceConfig, ...]


def test_every_key_is_described_with_its_type_and_default() -> None:
    table = PAGE.read_text().split('## `[[accounts]]` "binance"')[1]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", table, re.MULTILINE)
    described = {key: (kind, default) for key, kind, default, _ in rows}
    assert described == {key: (kind, default) for key, kind, default in rows_of(BinanceConfig)}


def test_example_is_a_configuration() -> None:
    (example,) = re.findall(r"```toml\n(.+?)```", PAGE.read_text(), re.DOTALL)
    (account,) = parse(example.encode(), Accounts).accounts
    assert account.environment == "testnet"
