"""`tickd check`: the resolved configuration, or one sentence that says what is wrong with it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from tickd.app.commands.check import STAGES, check_stages
from tickd.app.config import Config, load_config
from tickd.backend import Choice
from tickd.errors import ConfigError, TickdError
from tickd.native import SimMarket

EXAMPLES = Path(__file__).parents[3] / "examples"
GOOD = """
[node]
id = 7
state_dir = "/var/lib/tickd"

[[venues]]
name = "binance-usdm"
symbols = ["BTCUSDT"]
"""

INDICATOR = """
[[indicators]]
name = "flow"
kind = "ofi"
topics = ["quote.*.*"]
params = { window = 100 }
"""

STRATEGY = """
[[strategies]]
name = "mine"
class = "{tmp}/mine.py:Mine"
params = {{ levels = 5 }}
"""

SOURCE = """
from strategy_runner.strategy import Strategy

class Mine(Strategy):
    class Config(Strategy.Config):
        levels: int = 3

class Both(Mine):
    def on_batch(self, events): ...
    def on_trade(self, trade): ...
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_text(text: str) -> Path:
        path = tmp_path / "tickd.toml"
        path.write_text(text)
        return path

    return write_text


def test_resolved_configuration_is_printed_and_is_a_configuration_again(command, write) -> None:
    path = write(GOOD)
    ended = command("check", path)
    assert ended.code == 0
    assert "[raw_log]" in ended.out
    assert "# indicators: native, " in ended.out
    again = msgspec.convert(tomllib.loads(ended.out), Config)
    assert again == load_config(path)


def test_indicators_in_the_flow_pass_and_need_the_native_backend(
    command, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(GOOD + INDICATOR)
    ended = command("check", path)
    assert ended.code == 0
    (indicator,) = msgspec.convert(tomllib.loads(ended.out), Config).indicators
    assert (indicator.params, indicator.publish) == ({"window": 100}, "changed")
    refused = (Choice("indicators", "numpy", "differs from the twin: Ofi"),)
    monkeypatch.setattr("tickd.app.commands.check.decide", lambda: refused)
    ended = command("check", path)
    assert ended.code == 1
    assert "[[indicators]] need the native backend" in ended.err


def test_a_backend_that_does_not_exist_is_refused(
    command, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKD_NATIVE_BACKEND", "fortran")
    monkeypatch.setattr("tickd.backend._choices", {})
    monkeypatch.delitem(sys.modules, "strategy_runner.indicators.backend", raising=False)
    ended = command("check", write(GOOD))
    assert ended.code == 1
    assert "TICKD_NATIVE_BACKEND is 'fortran'" in ended.err
    assert "auto, native or numpy" in ended.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("id = 7", "ident = 7"), "node.ident: unknown key"),
        (GOOD.replace("id = 7", "id = 70000"), "node.id is 70000, 0 to 65535 possible"),
        (GOOD.replace("id = 7", "shutdown_timeout_ms = 0"), "shutdown_timeout_ms must be positive"),
        (GOOD + GOOD[GOOD.index("[[") :], "a venue is listed twice"),
        (GOOD.replace("binance-usdm", "nowhere"), "nowhere"),
        (GOOD.replace('["BTCUSDT"]', "[]"), "no symbols"),
        (GOOD + 'channels = ["gossip"]\n', "gossip"),
        (GOOD + INDICATOR.replace("ofi", "oof"), "indicator flow: no kind 'oof', one of"),
        (GOOD + INDICATOR.replace("quote.", "trade."), "ofi takes quotes, which 'trade.*.*' has"),
        (GOOD + INDICATOR.replace("100", "0"), "indicator flow: "),
        (GOOD + INDICATOR * 2, "two [[indicators]] have the same name"),
        (
            GOOD + '[[subscriptions]]\nname = "x"\npatterns = ["binance-usdm:{top}@trade"]\n',
            "binance-usdm has no universe 'top'",
        ),
        (
            GOOD + '[[universes]]\nname = "top"\nvenue = "okx"\ncount = 5\n',
            "universe top: venue okx has no [[venues]] table",
        ),
        ("node = [", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_and_ends_with_2(command, write, text: str, says: str) -> None:
    ended = command("check", write(text))
    assert ended.code == 2, ended.err
    assert says in ended.err
    assert ended.out == ""


BROKER = (
    GOOD[: GOOD.index("[[")]
    + """
[[venues]]
name = "shioaji"
symbols = ["2330", "2330-ODD", "TXFR1"]

[venues.sdk]
api_key = { env = "BROKER_KEY" }
secret_key = { env = "BROKER_KEY" }
"""
)


def test_a_brokers_credentials_are_read_and_never_shown(command, write, monkeypatch) -> None:
    monkeypatch.setenv("BROKER_KEY", "nobody-may-see-this")
    ended = command("check", write(BROKER))
    assert ended.code == 0, ended.err
    assert "nobody-may-see-this" not in ended.out
    assert 'api_key = "***"' in ended.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BROKER[: BROKER.index("[venues.sdk]")], "credentials"),
        (
            BROKER.replace("symbols =", "streams_per_connection = 1\nsymbols ="),
            "6 streams need 6 connections of at most 1 streams, 4 are possible",
        ),
        (BROKER + "gather_ms = 500.0\n", "gather_ms"),
        (BROKER + "logins = 1\n", "venues[0].sdk.logins: unknown key"),
    ],
)
def test_what_a_broker_would_refuse_is_refused_before(
    command, write, monkeypatch, text: str, says: str
) -> None:
    monkeypatch.setenv("BROKER_KEY", "nobody-may-see-this")
    ended = command("check", write(text))
    assert ended.code == 2, ended.err
    assert says in ended.err.replace("\n", " ")


def test_environment_overrides_a_key(write, monkeypatch) -> None:
    monkeypatch.setenv("TICKD__NODE__STATE_DIR", "/srv/tickd")
    config = load_config(write(GOOD))
    assert config.state_dir == Path("/srv/tickd")


def test_missing_file_is_a_matter_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize("name", STAGES)
def test_foreign_package_under_a_generic_name_is_refused(monkeypatch, name: str) -> None:
    foreign = ModuleType(name)
    foreign.__file__ = "/elsewhere/__init__.py"
    monkeypatch.setitem(sys.modules, name, foreign)
    with pytest.raises(TickdError, match=f"package '{name}' at /elsewhere") as refused:
        check_stages()
    assert refused.value.hint is not None
    assert "environment of its own" in refused.value.hint


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_example_configuration_is_valid(command, path: Path) -> None:
    assert command("check", path).code == 0


def test_the_simulated_market_of_the_example_lists_its_symbols() -> None:
    text = (EXAMPLES / "simulated.toml").read_text()
    called = re.search(r"tickd sim --symbols (\d+)", text)
    assert called is not None
    market = SimMarket(1, int(called[1]), 100.0, 1_723_075_200_000_000_000)
    (venue,) = load_config(EXAMPLES / "simulated.toml").venues
    assert set(venue.symbols) == set(market.symbols())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Mine", "Yours", "strategy mine: {tmp}/mine.py has no Yours"),
        ("mine.py", "none.py", "strategy mine: no file {tmp}/none.py"),
        ("mine.py", "broken.py", "strategy mine: SyntaxError: "),
        ("mine.py", "leaves.py", "strategy mine: SystemExit: 7 (leaves.py:1)"),
        ("{tmp}/mine.py", "no_such_module", "strategy mine: no module no_such_module; install it"),
        ("Mine", "Both", "Both has on_batch and on_trade"),
        ("5", '"x"', "Expected `int`, got `str` - at `$.levels`; its parameters: levels"),
        ("levels", "level", "unknown field `level`; its parameters: levels"),
    ],
)
def test_a_strategy_that_could_not_start_is_refused(
    command, write, tmp_path: Path, old: str, new: str, says: str
) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("def x(:")
    (tmp_path / "leaves.py").write_text("raise SystemExit(7)")
    good = command("check", write(GOOD + STRATEGY.format(tmp=tmp_path)))
    assert good.code == 0, good.err
    text = STRATEGY.replace(old, new).format(tmp=tmp_path)
    ended = command("check", write(GOOD + text))
    assert (ended.code, ended.out) == (2, "")
    assert says.format(tmp=tmp_path) in ended.err


def strategy_table(name: str, **fields: str) -> str:
    lines = [f'{key} = "{value}"' for key, value in {"class": "m:C", **fields}.items()]
    return "\n".join(["", "[[strategies]]", f'name = "{name}"', *lines, ""])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (strategy_table("a") * 2, "two [[strategies]] have the same name: a"),
        (strategy_table("a", group="../../x"), "group '../../x': lower-case letters"),
        (
            strategy_table("a", group="g", isolation="inproc") + strategy_table("b", group="g"),
            "group g: a has isolation 'inproc', b 'process'",
        ),
        (
            strategy_table("group-g") + strategy_table("b", group="g"),
            "strategies group-g and b would have the same files: group-g",
        ),
    ],
)
def test_strategies_that_would_meet_are_refused(command, write, text: str, says: str) -> None:
    ended = command("check", write(GOOD + text))
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


def test_topics_of_no_configured_venue_are_told(command, write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    topics = '"trade.binace-usdm.*", "*.binance-usdm.*", "clock.node.tick"'
    strategy = STRATEGY.format(tmp=tmp_path) + f"topics = [{topics}]\n"
    indicator = INDICATOR.replace("quote.*.*", "quote.okx.*")
    ended = command("check", write(GOOD + indicator + strategy))
    assert ended.code == 0, ended.err
    notes = [line for line in ended.out.splitlines() if line.startswith("# note: ")]
    never = "never comes, there is no [[venues]] named"
    assert notes == [
        f"# note: strategy mine: trade.binace-usdm.* {never} binace-usdm",
        f"# note: indicator flow: quote.okx.* {never} okx",
    ]
