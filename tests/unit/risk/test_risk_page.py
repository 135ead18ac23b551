"""docs/risk.md against what it describes: every reason, every key, its default."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from risk.limits import LimitConfig, Limits, LimitsConfig, VenueLimitConfig
from risk.reasons import Reason
from risk.reasons_page import MEANINGS, table
from tests.test_configuration_reference import default, described, word
from tickd.config import parse

PAGE = (Path(__file__).parents[3] / "docs/risk.md").read_text()
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "[[risk.limits]]": LimitConfig,
    "[[risk.venues]]": VenueLimitConfig,
    "[risk]": LimitsConfig,
}


def test_every_reason_has_its_line() -> None:
    assert set(MEANINGS) == set(Reason)
    assert table() in PAGE, "the table is made by risk.reasons_page.table()"


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_is_described_with_its_type_and_default(title: str) -> None:
    page = {key: (kind, value) for key, (kind, value, _) in described(PAGE)[title].items()}
    fields = msgspec.structs.fields(SECTIONS[title])
    plain = [field for field in fields if field.name not in {"limits", "venues"}]
    assert page == {field.encode_name: (word(field.type), default(field)) for field in plain}


def test_the_example_is_a_valid_set_that_misses_nothing() -> None:
    example = PAGE.split("```toml\n")[1].split("```")[0]
    limits = Limits(parse(example.replace("[[risk.", "[[").encode(), LimitsConfig))
    row = limits.config.limits[0]
    missing = [name for name in LimitConfig.__struct_fields__ if getattr(row, name) is None]
    assert missing == ["margin_pct"]
