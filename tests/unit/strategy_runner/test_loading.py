"""Names of classes to classes, parameters to configs, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from strategy_runner.config import StrategyConfig
from strategy_runner.errors import StrategyError
from strategy_runner.loading import config_of, strategy_class
from strategy_runner.strategy import Strategy

SOURCE = """
from strategy_runner.strategy import Strategy

class Mine(Strategy):
    class Config(Strategy.Config):
        symbol: str
        levels: int = 3

class NotMine:
    pass
"""


def test_a_file_is_found_by_its_path_and_kept_apart_from_others(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(SOURCE)
    one = strategy_class(f"{tmp_path}/a/same.py:Mine")
    other = strategy_class(f"{tmp_path}/b/same.py:Mine")
    assert one is not other
    assert one is strategy_class(f"{tmp_path}/a/same.py:Mine")


def test_a_module_is_found_where_python_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_strategies.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    assert issubclass(strategy_class("found_strategies:Mine"), Strategy)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.inside:Mine", "no module no_such_package.inside"),
        ("{tmp}/none.py:Mine", "no file"),
        ("{tmp}/same.py:Yours", "has no Yours"),
        ("{tmp}/same.py:NotMine", "is no subclass"),
    ],
)
def test_what_is_not_there_is_told(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text(SOURCE)
    with pytest.raises(StrategyError, match=reason):
        strategy_class(name.format(tmp=tmp_path))


def test_what_a_module_raises_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_dependency")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        strategy_class(f"{tmp_path}/broken.py:Mine")
    (tmp_path / "broken.py").write_text(SOURCE)  # mended, and asked for again
    assert strategy_class(f"{tmp_path}/broken.py:Mine")


def test_parameters_become_the_typed_config(tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text(SOURCE)
    kind = strategy_class(f"{tmp_path}/same.py:Mine")
    assert msgspec.structs.asdict(config_of(kind, {"symbol": "X"})) == {"levels": 3, "symbol": "X"}
    for params, reason in (
        ({}, "missing required field `symbol`"),
        ({"symbol": "X", "level": 1}, "unknown field `level`"),
        ({"symbol": 5}, "Expected `str`"),
    ):
        with pytest.raises(StrategyError, match=reason) as caught:
            config_of(kind, params)
        assert caught.value.hint == "its parameters: symbol, levels"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "A b"}, "lower-case"),
        ({"class": "nowhere"}, "not module:Class"),
        ({"topics": ["trades.*.*"]}, "unknown channel"),
        ({"topics": []}, "no pattern"),
        ({"policies": {"x": "conflate"}}, "not a topic pattern"),
        ({"policies": {"trade.*.*": "block"}}, "Invalid enum value 'block'"),
        ({"hang_ms_max": 0}, "hang_ms_max must be positive"),
        ({"warmup_seconds": -1}, "warmup_seconds is -1, 0 to 86400 possible"),
    ],
)
def test_what_an_operator_may_not_say(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert({"name": "a", "class": "m:C", **fields}, StrategyConfig)
