"""Relations between accounts, strategies and limits: a slip is told with place, cause and names.

A name that nothing has would be a limit that never applies.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.trading_world import VENUE, config_of, text_of
from tickd.app.config import load_config
from tickd.errors import ConfigError

PAPER = '[[accounts]]\nbroker = "paper"\nname = "one"\n'
ROW = "[[risk.limits]]\ntradable = true\n"


def test_a_file_in_order_is_taken(tmp_path: Path) -> None:
    more = f'{ROW}account = "two"\nstrategy = "poor"\ninstrument = "{VENUE}:BBBUSDT"\n'
    config = config_of(tmp_path, more=more)
    assert [each.name for each in config.accounts] == ["one", "two"]
    assert config.strategies[2].account == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (PAPER, "two [[accounts]] have the same name: one"),
        (
            '[[strategies]]\nname = "new"\nclass = "a.py:A"\naccount = "three"\n',
            "strategy new: no [[accounts]] table is called 'three'; there are: one, two",
        ),
        (
            f'{ROW}account = "tow"\n',
            "risk.limits[1]: no [[accounts]] table is called 'tow'; there are: one, two",
        ),
        (
            f'{ROW}strategy = "chasr"\n',
            "risk.limits[1]: no [[strategies]] table is called 'chasr'",
        ),
        (
            f'{ROW}instrument = "binance:AAAUSDT"\n',
            "risk.limits[1]: no [[venues]] table is called 'binance'; there are: binance-usdm",
        ),
        (
            '[[risk.venues]]\nvenue = "okx"\nmessages_max = 10\nwindow_ms = 10\n',
            "risk.venues[1]: no [[venues]] table is called 'okx'",
        ),
        (
            '[risk]\nrestricted = ["okx:AAAUSDT"]\n',
            "risk.restricted okx:AAAUSDT: no [[venues]] table is called 'okx'",
        ),
        (f'{ROW}instrument = "AAAUSDT"\n', "limits[1]: instrument 'AAAUSDT' is not venue:symbol"),
        (f'{ROW}order_qty_max = "lots"\n', "limits[1]: order_qty_max"),
        ('[[accounts]]\nbroker = "etrade"\nname = "x"\n', "etrade"),
        ('[[accounts]]\nname = "x"\n', "broker"),
        (PAPER.replace('"one"', '"One!"'), "account name 'One!'"),
        (PAPER.replace('"one"', '"x"') + "leverage = 0\n", "leverage is 0, 1 to 1000 possible"),
        (PAPER.replace('"one"', '"x"') + "lever = 2\n", "lever"),
    ],
)
def test_a_slip_is_told_with_its_place_and_what_there_is(
    tmp_path: Path, more: str, words: str
) -> None:
    path = tmp_path / "tickd.toml"
    path.write_text(text_of(tmp_path, more=more))
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    assert words in f"{refused.value} {refused.value.hint}"
    assert "tickd.toml" in str(refused.value)
