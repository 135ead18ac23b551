"""docs/brokers/shioaji.md against the struct: every key, its type and its default."""

import re
from pathlib import Path

from risk.brokers.shioaji.config import ShioajiAccountConfig
from tests.test_configuration_reference import rows_of

PAGE = Path(__file__).parents[5] / "docs/brokers/shioaji.md"


def test_every_key_is_described_with_its_type_and_default():
    table = PAGE.read_text().split('## `[[accounts]]` "shioaji"')[1]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", table, re.MULTILINE)
    assert [row[:3] for row in rows] == list(rows_of(ShioajiAccountConfig))
