"""The table of a Binance account: defaults, relations, the way through TOML."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from risk.brokers.binance.config import ENDPOINTS, BinanceConfig
from risk.brokers.binance.signing import key_of, read_key
from tests.harness.binance_stand import API_KEY, SECRET, key_files
from tickd.config import dump, parse
from tickd.errors import ConfigError


def table(**settings: Any) -> BinanceConfig:
    given = {
        "name": "a",
        "market": "usdm",
        "symbols": ("BTCUSDT",),
        "api_key_file": "a",
        "secret_key_file": "s",
    }
    return BinanceConfig(**{**given, **settings})


TABLE = """
name = "a"
market = "usdm"
symbols = ["BTCUSDT"]
broker = "binance"
"""


def written(lines: str, environment: dict[str, str] | None = None) -> BinanceConfig:
    return parse((TABLE + lines).encode(), BinanceConfig, environment=environment)


@pytest.mark.parametrize("secret", [SECRET, "pem"])
def test_keys_are_credentials_files_or_plain_paths(tmp_path: Path, secret: str) -> None:
    if secret == "pem":
        private = Ed25519PrivateKey.generate()
        how = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        secret = private.private_bytes(*how).decode()
    api_file, secret_file = key_files(tmp_path, secret)
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    forms = [
        f'api_key_file = "{api_file}"\nsecret_key_file = "{secret_file}"',
        f'api_key = {{ file = "{api_file}" }}\nsecret_key = {{ file = "{secret_file}" }}',
        'api_key = { credential = "api.key" }\nsecret_key = { credential = "secret.key" }',
        f'api_key = {{ credential = "api.key" }}\nsecret_key_file = "{secret_file}"',
    ]
    for form in forms:
        config = written(form, credentials)
        key = key_of(config)
        assert key.api_key.reveal() == API_KEY
        assert key.query({"a": 1}) == read_key(api_file, secret_file).query({"a": 1})
        assert key.can_log_on is secret.startswith("-----")
        for shown in (repr(config), dump(config), str(config.api_key), f"{config.secret_key}"):
            assert API_KEY not in shown
            assert secret not in shown
        assert written(form, credentials) == config


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('api_key = { env = "KEY" }\nsecret_key_file = "s"', "not written here"),
        ('api_key = "plain-key"\nsecret_key_file = "s"', "not written here"),
        ('api_key = { file = "a", env = "KEY" }\nsecret_key_file = "s"', "not written here"),
        ('api_key = { file = "a" }\napi_key_file = "a"\nsecret_key_file = "s"', "one of them"),
        ('api_key_file = "a"', "secret_key"),
        ('secret_key = { file = "a" }', "api_key"),
    ],
)
def test_keys_in_no_other_way_and_in_one_way_only(lines: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        written(lines, {"KEY": "a-key"})
    assert "plain-key" not in f"{caught.value} {caught.value.hint}"


def test_a_key_that_is_not_there_is_told_to_who_needs_it(tmp_path: Path) -> None:
    config = written(
        f'api_key = {{ credential = "no" }}\nsecret_key = {{ file = "{tmp_path}/no" }}'
    )
    for late in (config.api_key, config.secret_key):
        assert late is not None
        assert late.known() is None
        with pytest.raises(ConfigError, match="no"):
            late.secret()
    with pytest.raises(ConfigError, match="credentials"):
        key_of(config)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(config.api_key)
    assert hash(config.api_key) != hash(config.secret_key)


def test_testnet_is_the_default() -> None:
    for market in ("spot", "usdm"):
        assert table(market=market).endpoints == ENDPOINTS["testnet", market]
        assert table(market=market, environment="live").endpoints == ENDPOINTS["live", market]


def test_addresses_replace_the_known_ones() -> None:
    given = table(ws_api_url="ws://x/w", rest_url="http://x/", stream_url="ws://x/s/")
    assert given.endpoints == ("ws://x/w", "http://x", "ws://x/s")


def test_listen_key_is_appended_or_replaces_its_name() -> None:
    assert table().stream_of("K") == "wss://fstream.binancefuture.com/ws/K"
    other = table(stream_url="wss://x/private/ws?listenKey={listen_key}&events=ORDER_TRADE_UPDATE")
    assert other.stream_of("K") == "wss://x/private/ws?listenKey=K&events=ORDER_TRADE_UPDATE"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "A b"}, "account name"),
        ({"symbols": ()}, "symbols is empty"),
        ({"symbols": ("BTCUSDT", "BTCUSDT")}, "twice"),
        ({"market": "spot", "symbols": ("BTCEUR",)}, "does not settle in USDT"),
        ({"market": "spot", "symbols": ("USDT",)}, "does not settle"),
        ({"market": "spot", "countdown_ms": 60_000}, "usdm alone"),
        ({"market": "spot", "stream_url": "ws://x"}, "usdm alone"),
        ({"countdown_ms": 4_999}, "5000"),
        ({"countdown_ms": -1}, "5000"),
        ({"order_prefix": "tickd"}, "order_prefix"),
        ({"order_prefix": "-" * 18}, "order_prefix"),
        ({"order_prefix": "a_b-"}, "order_prefix"),
        ({"recv_window_ms": 60_001}, "recv_window_ms"),
        ({"recv_window_ms": 0}, "recv_window_ms"),
        ({"market": "spot", "look_back_s": 86_400.0}, "look_back_s"),
        ({"look_back_s": 0.0}, "look_back_s"),
        ({"look_back_s": float("nan")}, "look_back_s"),
        ({"answer_timeout_s": 0.0}, "answer_timeout_s"),
        ({"backoff_cap_s": float("nan")}, "backoff_cap_s"),
        ({"query_tries": 0}, "query_tries"),
        ({"weight_per_minute_max": 0}, "weight_per_minute_max"),
    ],
)
def test_relations(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        table(**settings)


def test_longest_prefix_and_reference_fit_the_venue() -> None:
    assert len(table(order_prefix="x" * 16 + "-").order_prefix + "1Y2P0IJ32E8E7") <= 36


def test_toml_round_trip_and_unknown_keys() -> None:
    text = dump(table(countdown_ms=60_000))
    assert parse(text.encode(), BinanceConfig) == table(countdown_ms=60_000)
    with pytest.raises(ConfigError, match="api_key"):
        parse(text.encode() + b'api_key = "never in here"\n', BinanceConfig)


def test_allowance_of_the_market() -> None:
    assert table(market="spot").weight_max == 6_000
    assert table().weight_max == 2_400
    assert table(weight_per_minute_max=100).weight_max == 100
