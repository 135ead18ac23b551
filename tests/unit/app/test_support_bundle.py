"""The support bundle: every planted secret is gone from every file in it, whatever its form."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from risk.config import TriggersConfig
from risk.ledger import Ledger
from risk.triggers import Triggers
from tests.harness.gates import Desk
from tickd.app.bundling import FILE_BYTES_MAX, Piece, collect_files, write_bundle
from tickd.app.encoding import encode
from tickd.app.redacting import Redactor
from tickd.testing.clock import ManualClock

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
        '{"token": hunter2xx, "n": 2}',
        'password = "two words, hunter2xx"',
        'password = """two words hunter2xx"""',
        "{'token': b'two words hunter2xx'}",
        'password = "a \\" quote hunter2xx"',
        '"{\\"secret\\":\\"two words hunter2xx\\"}"',
        '{"password": {"v": "abc hunter2xx", "w": {"x": "y"}, "z": "hunter2xx"}}',
        '{"tokens": ["ab", "hunter2xx"]',
        "headers['Authorization'] = 'Token hunter2xx'",
        "Authorization: Token hunter2xx",
        '"Authorization": "Custom a=b, c=hunter2xx"',
        'Authorization: Digest username="ada", response="hunter2xx"',
        "Set-Cookie: a=b; session=hunter2xx",
        "tickd --password hunter2xx",
        "tickd --api-key 'two hunter2xx'",
        "token.value = hunter2xx",
        "X-API-Key: hunter2xx",
        # Two words without quotes: such a file does not load, and its lines may be anywhere.
        "password = correct hunter2xx",
        "password=correct hunter2xx # mine",
        "  password = it's, hunter2xx",
        "[clickhouse]\npassword: correct horse; hunter2xx",
        "clickhouse.password = correct horse hunter2xx",
        "line 3 is password = correct hunter2xx",
        "TICKD__CLICKHOUSE__PASSWORD=correct horse hunter2xx",
        "nats://user:p/hunter2xx@host:4222",
        "postgres://u:p@hunter2xx@h/base",
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
        'password = { file = "/run/credentials/tickd/key" }',
        "tickd --password-file /etc/tickd/key --config x",
        "wss://stream.example:9443/ws; 3 of 5 at a@b",
        '{"frames": 3, "free_bytes": 4, "position": 7}',
        "tickd.toml: not TOML: invalid value (at line 2, column 12, password)",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Redactor([]).text(text) == text


def test_what_stands_behind_a_secret_stays() -> None:
    line = "login_failed token=abcd1234 attempt=3 words=refused by the broker"
    assert Redactor([]).text(line) == (
        "login_failed token=*** attempt=3 words=refused by the broker"
    )
    told = "tickd.toml: clickhouse.password: a secret is not written here"
    assert "secret is not written here" in Redactor([]).text(told)


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


@pytest.mark.parametrize(
    ("told", "clean"),
    [
        ({"token": 12345678}, {"token": "***"}),
        ({"token": True}, {"token": "***"}),
        ({"password": {"v": "abc def"}}, {"password": "***"}),
        ({"secrets": ["ab", {"c": 1}]}, {"secrets": "***"}),
        ({"token": None, "secret": "", "cookies": []},) * 2,
        ({"password_file": {"v": "/etc/key"}, "token_count": 3},) * 2,
    ],
)
def test_a_whole_tree_goes_below_a_secret_name(told: object, clean: object) -> None:
    assert Redactor([]).tree(told) == clean


def test_every_figure_of_an_account_is_hidden(tmp_path: Path) -> None:
    """Also one that is new in the ledger: say whether it is money."""
    ledger = Ledger(
        {"main": "USDT"}, gate=Desk("numpy").gate, directory=tmp_path, clock=ManualClock()
    )
    figures = {**ledger.record("main"), **ledger.draw("main")}.keys()
    told = dict.fromkeys(figures - {"kind", "account", "currency"}, -98765)
    assert len(told) > 7
    clean = Redactor([]).tree({**told, "currency": "USDT"})
    assert clean == {**dict.fromkeys(told, "***"), "currency": "USDT"}
    # What is no JSON any more is text.
    assert "98765" not in Redactor([]).text(json.dumps(told)[1:])
    assert "98765" not in Redactor([]).text(json.dumps({"positions": [{"size": 98765}]})[:-3])


def test_metrics_of_money_are_hidden() -> None:
    """Each one that the page of metrics gives a currency for its unit."""
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    rows = [[cell.strip(" `") for cell in row.split("|")[1:]] for row in page.splitlines()]
    money = [row[0] for row in rows if len(row) > 3 and "currency" in row[3]]
    assert money
    for name in money:
        line = f'{name}{{account="ada {{}}",kind="equity"}} -1234567.89'
        text = f"# TYPE {name} gauge\n{line}\n{name} 1.2e+06\ntickd_risk_open_orders 7\n"
        clean = Redactor([]).text(text)
        assert "234567" not in clean
        assert "1.2e" not in clean
        assert f"# TYPE {name} gauge\n" in clean
        assert 'kind="equity"' in clean
        assert clean.endswith("tickd_risk_open_orders 7\n")


def test_a_reason_tells_no_loss() -> None:
    reason = Triggers(TriggersConfig(daily_loss_max=5)).daily_loss("main", -98765)
    assert reason is not None
    assert "98765" not in Redactor([]).text(reason)


def kept(tmp_path: Path, *pieces: Piece) -> dict[str, str]:
    """What is in a bundle of these pieces."""
    out = tmp_path / f"{uuid4()}.tar.gz"
    write_bundle(out, pieces, Redactor([]), folder="f", wall_s=1)
    return unpacked(out)


def test_a_dump_that_is_cut_is_left_out(tmp_path: Path) -> None:
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    tree = {"words": "x" * FILE_BYTES_MAX, "status": {"equity": 98765}}
    (dumps / "20260101T000000-000000000.json").write_text(json.dumps(tree))
    line = json.dumps({"event": "spoke", "token": "stray1", "text": "y" * 5_000}) + "\n"
    (dumps / "flight-1.jsonl").write_text(line * (FILE_BYTES_MAX // len(line) + 2))
    files = kept(tmp_path, *collect_files(tmp_path))
    assert "dumps/20260101T000000-000000000.json" not in files
    assert "bytes" in files["dumps/20260101T000000-000000000.json.error.txt"]
    assert "98765" not in "".join(files.values())
    lines = files["dumps/flight-1.jsonl"].splitlines()
    assert len(lines) > 700
    assert {json.loads(each)["token"] for each in lines} == {"***"}


@pytest.mark.parametrize("data", [b'{"equity": 98765, ', b'{"equity": [98765, \xff]}'])
def test_what_is_no_json_is_left_out(tmp_path: Path, data: bytes) -> None:
    files = kept(tmp_path, ("status.json", data))
    assert list(files) == ["status.json.error.txt"]
    assert "98765" not in "".join(files.values())


def test_a_figure_beyond_any_is_no_obstacle(tmp_path: Path) -> None:
    """As `encode` writes it: orjson reads no such integer."""
    data = encode({"n": 2**2_000, "equity": 2**2_000})
    for name in ("status.json", "flight/current.jsonl"):
        text = kept(tmp_path, (name, data))[name]
        assert json.loads(text) == {"n": 2**2_000, "equity": "***"}


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
