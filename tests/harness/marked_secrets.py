"""A configuration with a marked secret under every key that takes one, and how marks are found.

Each secret is another text, so that a leak says whose it is. Keys are found by looking at the
structs: what somebody adds to them is marked, too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import quote

import msgspec

from tickd.app.config import Config
from tickd.late_secrets import LateSecret
from tickd.secrets import Secret

__all__ = ["MarkedSecrets", "secret_keys"]

MARK = "Xq7SECRETx"
# Secrets that are more than one word.
_SHAPES = {"tracing.headers": "authorization={}"}
_WORDS = str.maketrans("_.", "--")
# What cannot be found by looking at types: secrets that are files by another name, and free tables.
FILE = """
[node]
state_dir = "{state}"
shutdown_timeout_ms = 3000
[http]
port = 0
[clickhouse]
url = "http://127.0.0.1:1"
connect_timeout_ms = 200
[ship]
url = "s3://bucket"
options = {{ endpoint = "http://127.0.0.1:1", region = "x" }}
[ship.secrets]
access_key_id = {{ file = "{ship_id}" }}
secret_access_key = {{ file = "{ship_key}" }}
session_token = {{ file = "{ship_token}" }}
[[venues]]
name = "binance-usdm"
symbols = ["AAAUSDT"]
ws_url = "ws://127.0.0.1:1"
rest_url = "http://127.0.0.1:1"
[venues.fill]
api_key = {{ file = "{fill}" }}
[[accounts]]
broker = "binance"
name = "nance"
market = "spot"
symbols = ["AAAUSDT"]
api_key_file = "{binance_key}"
secret_key_file = "{binance_secret}"
cancel_all_timeout_s = 0.5
query_tries = 1
ws_api_url = "ws://127.0.0.1:1"
rest_url = "http://127.0.0.1:1"
[[accounts]]
broker = "binance"
name = "late"
market = "spot"
symbols = ["AAAUSDT"]
api_key = {{ file = "{late_key}" }}
secret_key = {{ file = "{late_secret}" }}
cancel_all_timeout_s = 0.5
query_tries = 1
ws_api_url = "ws://127.0.0.1:1"
rest_url = "http://127.0.0.1:1"
"""
# The SDK connects to its own servers: not for a daemon that runs.
SDK = """
[[venues]]
name = "shioaji"
symbols = ["2330"]
[venues.sdk]
api_key = {{ file = "{sdk_key}" }}
secret_key = {{ file = "{sdk_secret}" }}
[[accounts]]
broker = "shioaji"
name = "shio"
api_key = {{ file = "{shio_key}" }}
secret_key = {{ file = "{shio_secret}" }}
symbols = ["2330"]
ca_path = "me.pfx"
ca_password = {{ file = "{shio_ca}" }}
person_id = {{ file = "{shio_person}" }}
"""


class MarkedSecrets:
    """Secrets in files of a folder, and the text of a configuration that names them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "secrets"
        self._folder.mkdir(mode=0o700)
        self.state = folder / "state"
        # By what they are called here.
        self.values: dict[str, str] = {}

    def file(self, name: str) -> Path:
        """Make a secret that is called so, in a file of its own."""
        value = f"{MARK}{len(self.values):02d}-{name.translate(_WORDS)}"
        self.values[name] = value
        path = self._folder / f"{len(self.values)}.txt"
        path.write_text(_SHAPES.get(name, "{}").format(value) + "\n")
        path.chmod(0o600)
        return path

    def text(self, *, with_sdk: bool) -> str:
        """Return the configuration; every secret of a plain table is put in by itself."""
        template = FILE + (SDK if with_sdk else "")
        text = template.format_map(_Named(self))
        for path in secret_keys(Config):
            table, _, key = path.rpartition(".")
            if "[]" not in path and path != "ship.secrets":
                header = f"[{table}]\n"
                line = f'{key} = {{ file = "{self.file(path)}" }}\n'
                text = text if header in text else text + header
                text = text.replace(header, header + line)
        return text

    def leaked(self, content: str | bytes) -> set[str]:
        """Which secrets are in it: as they are, or as they go into URLs and headers."""
        data = content.encode(errors="replace") if isinstance(content, str) else content
        found = {
            name for name, value in self.values.items() if any(f in data for f in forms(value))
        }
        return found or ({"a part of one"} if MARK.encode() in data else set())


class _Named(dict[str, object]):
    """What a template names: the state directory, and new secrets."""

    def __init__(self, secrets: MarkedSecrets) -> None:
        super().__init__(state=secrets.state)
        self._secrets = secrets

    def __missing__(self, name: str) -> Path:
        return self._secrets.file(name)


def forms(value: str) -> tuple[bytes, ...]:
    """How a secret may appear."""
    plain = value.encode()
    return plain, quote(value).encode(), base64.b64encode(plain), plain.hex().encode()


def secret_keys(struct: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    """Keys that take a `Secret` or a `LateSecret`, in tables and in lists of tables (`[]`)."""
    for name, kind in get_type_hints(struct).items():
        for each in _inside(kind):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                many = "[]" if get_origin(kind) is tuple else ""
                yield from secret_keys(each, f"{path}{name}{many}.")
            elif each in (Secret, LateSecret):
                yield path + name


def _inside(kind: Any) -> Iterator[Any]:
    """A type, and those it is made of."""
    yield kind
    for each in get_args(kind):
        yield from _inside(each)
