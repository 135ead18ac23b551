"""The support bundle: every planted secret is gone from every file in it, whatever its form."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tickd.app.redacting import Redactor

SECRETS = {
    "password": "Tr0ub4dor&3/horse",
    "variable": "env-s3cr3t-value-77",
    "key": "AbCdEf0123456789xyzKEY",
    "url": "hunter2inurl",
    "stray": "strayTokenValue9",
}
PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nAbCdQQ==\n"
    "-----END PRIVATE KEY-----\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2xx",
        'api_key = "hunter2xx"',
        '{"listenKey":"hunter2xx"}',
        '"{\\"secret\\":\\"hunter2xx\\"}"',
        "GET /api?symbol=X&signature=hunter2xx&y=1",
        "Authorization: Bearer hunter2xx",
        "X-MBX-APIKEY: hunter2xx",
        "https://ada:hunter2xx@db.example:8443/",
        PEM.replace("AbCdQQ==", "hunter2xx"),
        PEM.split("-----END", maxsplit=1)[0] + "hunter2xx",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    clean = Redactor([]).text(text)
    assert "hunter2xx" not in clean
    assert "***" in clean


@pytest.mark.parametrize(
    "text",
    [
        "connection_opened venue=okx url=wss://ws.okx.com:8443/ws/v5/public streams=200",
        'password_file = "/run/credentials/tickd/key"',
        "api_key_file=/etc/tickd/key",
        "12,345 frames, recv→raw p99 1.2 ms",
        "trade.binance-usdm.BTCUSDT",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Redactor([]).text(text) == text


@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda s: quote(s, safe=""),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: s.encode().hex(),
        json.dumps,
    ],
)
def test_a_known_secret_goes_in_every_form(form: Callable[[str], str]) -> None:
    secret = 'q"uo\\te/d & l0ng'
    assert form(secret).strip('"=') not in Redactor([secret]).text(f"words {form(secret)} more")


def test_a_tree_loses_secrets_and_money_and_keeps_the_rest() -> None:
    tree = {
        "token": "x1",
        "sub": [{"password": "y2", "frames": 7, "note": "token=z3"}],
        "trading": {"accounts": [{"name": "paper", "equity": 10**12, "positions": [{"size": 3}]}]},
        "key_file": "/etc/key",
        "state": "recording",
    }
    clean = Redactor([]).tree(tree)
    assert clean["state"] == "recording"
    assert clean["key_file"] == "/etc/key"
    assert clean["sub"][0]["frames"] == 7
    account = clean["trading"]["accounts"][0]
    assert account == {"name": "paper", "equity": "***", "positions": "***"}
    assert not [word for word in ("x1", "y2", "z3") if word in json.dumps(clean)]


def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration and the remains of a daemon, with secrets wherever one could slip in."""
    state = tmp_path / "state"
    for name in ("flight", "dumps", "raw"):
        (state / name).mkdir(parents=True)
    password = tmp_path / "password"
    password.write_text(SECRETS["password"] + "\n")
    password.chmod(0o600)
    key = tmp_path / "key.pem"
    key.write_text(PEM + SECRETS["key"])
    key.chmod(0o600)
    monkeypatch.setenv("PLANTED", SECRETS["variable"])
    config = tmp_path / "tickd.toml"
    config.write_text(
        f'[node]\nstate_dir = "{state}"\n'
        f'[clickhouse]\nurl = "http://127.0.0.1:9"\n'
        f'password = {{ file = "{password}" }}\nuser_secret = {{ env = "PLANTED" }}\n'
        '[[venues]]\nname = "binance-usdm"\nsymbols = ["BTCUSDT"]\n'
        f'ws_url = "ws://ada:{SECRETS["url"]}@127.0.0.1:9"\n'
        f'[venues.fill]\napi_key = {{ file = "{key}" }}\n'
    )
    told = " ".join(value for name, value in SECRETS.items() if name not in ("stray", "url"))
    told += f" token={SECRETS['stray']} http://ada:{SECRETS['url']}@x"
    entry = {"event": "vendor_spoke", "text": told, "token": SECRETS["stray"], "wall_ns": 1}
    line = json.dumps(entry)
    (state / "flight" / "current.jsonl").write_text(f"{line}\n{line[:-9]}")
    dump = {"status": {"clickhouse": {"password": SECRETS["stray"]}, "words": told}}
    (state / "dumps" / "20260101T000000-000000000.json").write_text(json.dumps(dump))
    (state / "dumps" / "fatal-1.txt").write_text(told)
    (state / "raw" / "MANIFEST.jsonl").write_text('{"segment": 1}\n' * 300)
    return config


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
        }


def test_no_planted_secret_is_in_the_bundle_of_a_daemon_that_is_down(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = plant(tmp_path, monkeypatch), tmp_path / "b.tar.gz"
    done = command("support-bundle", config, "--out", out, "--quick")
    assert done.code == 0, done.err
    files = unpacked(out)
    found = {
        (name, secret)
        for name, text in files.items()
        for secret in (*SECRETS.values(), "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC")
        if secret in text
    }
    assert not found
    assert set(files) >= {
        "README.txt", "config.toml", "status.error.txt", "doctor.json", "versions.txt",
        "machine.txt", "manifest.jsonl", "files.txt", "flight/current.jsonl", "dumps/fatal-1.txt",
        "dumps/20260101T000000-000000000.json",
    }  # fmt: skip
    assert "vendor_spoke" in files["flight/current.jsonl"]
    assert files["manifest.jsonl"].count("segment") == 200
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_configuration_that_is_refused_is_no_obstacle(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(tmp_path, monkeypatch)
    config.write_text(config.read_text() + "no_such_key = 1\n")
    done = command("support-bundle", config, "--out", tmp_path / "b.tar.gz", "--quick")
    files = unpacked(tmp_path / "b.tar.gz")
    assert done.code == 0, done.err
    assert "no_such_key" in files["config.error.txt"]
    assert "flight/current.jsonl" in files
    assert not [s for s in SECRETS.values() if s in "".join(files.values())]


def test_an_archive_is_never_overwritten(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = plant(tmp_path, monkeypatch), tmp_path / "b.tar.gz"
    out.write_text("mine")
    assert command("support-bundle", config, "--out", out, "--quick").code == 1
    assert out.read_text() == "mine"
