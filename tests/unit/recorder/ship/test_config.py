"""The `[ship]` section: what is refused, and that no secret shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.ship.config import ShipConfig
from tickd.config import dump, parse
from tickd.errors import ConfigError


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/a/b",
        "gs://bucket",
        "az://account/container",
        "file:///mnt/x",
        "memory://",
    ],
)
def test_stores_by_url(url: str) -> None:
    assert ShipConfig(url=url).enabled


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "s3://user:key@bucket"},
        {"url": "s3://bucket?sig=1"},
        {"url": "http://bucket"},
        {"url": "bucket"},
        {"url": "file://relative"},
        {"prefix": ""},
        {"prefix": "/a"},
        {"prefix": "a/../b"},
        {"options": {"secret_access_key": "x"}},
        {"options": {"account_key": "x"}},
        {"options": {"session_token": "x"}},
        {"every_s": 0},
        {"parts_in_flight": 0},
        {"request_timeout_ms": 0},
        {"part_bytes": 1 << 20},
        {"bandwidth_bytes_per_s": -1},
        {"keep_days": -1},
        {"keep_bytes_min": -1},
        {"aside_age_s": -1},
        {"verify": "no"},
        {"endpoint": "x"},
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any]) -> None:
    lines = []
    for key, value in fields.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{name} = {json.dumps(text)}" for name, text in value.items())
            lines.append(f"{key} = {{ {inner} }}")
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    with pytest.raises(ConfigError):
        parse("\n".join(lines).encode(), ShipConfig)


def test_secrets_come_from_files_and_the_environment_and_never_show() -> None:
    text = b'url = "s3://b"\nsecrets = { secret_access_key = { env = "KEY" } }'
    config = parse(text, ShipConfig, environment={"KEY": "hidden-value"})
    assert config.secrets["secret_access_key"].reveal() == "hidden-value"
    assert "hidden-value" not in repr(config) + dump(config)
    with pytest.raises(ConfigError, match="a secret is not written here"):
        parse(b'secrets = { secret_access_key = "plain" }', ShipConfig)


def test_a_name_in_both_tables_is_refused() -> None:
    text = b'options = { region = "x" }\nsecrets = { region = { env = "R" } }'
    with pytest.raises(ConfigError, match="in options and in secrets"):
        parse(text, ShipConfig, environment={"R": "y"})
