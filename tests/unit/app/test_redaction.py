"""No secret is seen where a configuration is shown, logged, refused or dumped.

Method: marked secrets under every key that takes one; each surface is a line of `SURFACES`. What a
running daemon shows is looked at in tests/proof/test_redaction.py.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import structlog

from tests.harness.marked_secrets import FILE, SDK, MarkedSecrets, secret_keys
from tests.unit.app.conftest import Ended
from tickd.app.config import Config
from tickd.app.encoding import encode
from tickd.config import dump, parse
from tickd.errors import ConfigError
from tickd.secrets import Secret
from tickd.telemetry.logs import configure_logs

PLAIN = "hunter2-Xq7SECRETx"


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> tuple[MarkedSecrets, str]:
    secrets = MarkedSecrets(tmp_path_factory.mktemp("marked"))
    return secrets, secrets.text(with_sdk=True)


def test_every_key_that_takes_a_secret_has_one() -> None:
    written = FILE + SDK
    for key in secret_keys(Config):
        if "[]" in key:
            table, name = key.rsplit(".", 1)
            assert f"\n{name} = {{{{ file" in written, f"{key}: put it into the template"
            assert f"[{table.replace('[]', '')}]" in written


def refuse(config: Config) -> None:
    token = config.http.token
    raise ValueError(f"cannot use {token} of {config}")


def logged(log_format: str, config: Config) -> str:
    """Lines of a log about a configuration, a traceback with it in a local variable among them."""
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        configure_logs(log_format=log_format, mono_ns=lambda: 0, stream=stream)  # type: ignore[arg-type]
        log = structlog.get_logger()
        log.info("config_taken", config=config, token=config.http.token, accounts=config.accounts)
        try:
            refuse(config)
        except ValueError:
            log.exception("config_failed", clickhouse=config.clickhouse)
    finally:
        structlog.configure(**before)
    assert "config_failed" in stream.getvalue()
    return stream.getvalue()


def traced(config: Config) -> str:
    """A traceback that shows local variables."""
    secrets = config.ship.secrets
    assert secrets
    try:
        refuse(config)
    except ValueError as error:
        return "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )


SURFACES: dict[str, Callable[[Config], str | bytes]] = {
    "repr": repr,
    "str": str,
    "format": lambda config: f"{config} {config.http.token:>40} {config.accounts!r}",
    "percent": lambda config: "%s %r" % (config.http, config.clickhouse),  # noqa: UP031 - a way, too
    "asdict": lambda config: repr(msgspec.structs.asdict(config)),
    "dump": dump,
    "json": lambda config: msgspec.json.encode(config, enc_hook=str),
    "encode": lambda config: encode({"all": [config.http.token, config.ship.secrets]}, default=str),
    "copy": lambda config: repr(copy.copy(config.http)),
    "traceback": traced,
    "log as JSON": lambda config: logged("json", config),
    "log on a console": lambda config: logged("console", config),
}


@pytest.mark.parametrize("surface", SURFACES)
def test_a_configuration_shows_none(marked: tuple[MarkedSecrets, str], surface: str) -> None:
    secrets, text = marked
    config = parse(text.encode(), Config)
    shown = SURFACES[surface](config)
    assert secrets.leaked(shown) == set()
    assert shown


def test_the_marks_are_found_where_they_are(marked: tuple[MarkedSecrets, str]) -> None:
    """The oracle of the tests above: it sees what leaks, whole, encoded or in part."""
    secrets, text = marked
    config = parse(text.encode(), Config)
    assert config.http.token is not None
    token = config.http.token.reveal()
    for leak in (token, token.encode().hex(), f"x{token}y", token[:12]):
        assert secrets.leaked(leak)
    assert len(set(secrets.values.values())) == len(secrets.values) > 12


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(Secret(PLAIN))


@pytest.mark.parametrize(
    "change",
    [
        ("port = 0", 'port = "zero"'),
        ("port = 0", "port = 0\nunknown = 1"),
        ("[node]", "[node"),
        ('name = "nance"', "name = 7"),
        ('host = "127.0.0.1"', 'host = "0.0.0.0"'),
        ('market = "spot"', 'market = "moon"'),
        ("person_id = {", 'person_id = "Xq7SECRETx plain" #'),
    ],
)
def test_a_refused_configuration_shows_none(
    marked: tuple[MarkedSecrets, str], change: tuple[str, str]
) -> None:
    secrets, text = marked
    broken = text.replace("port = 0", 'port = 0\nhost = "127.0.0.1"').replace(*change)
    with pytest.raises(ConfigError) as refused:
        parse(broken.encode(), Config)
    error = refused.value
    told = "".join(traceback.format_exception(error)) + str(error.hint)
    assert secrets.leaked(told) == set()


@pytest.mark.parametrize(
    "line",
    [
        f'password = "{PLAIN}"',
        f'password = {{ file = "/nowhere", key = "{PLAIN}" }}',
        f'password = ["{PLAIN}"]',
        f'password = "{PLAIN}',
        f"password = {PLAIN}",
    ],
)
def test_a_secret_written_into_the_file_is_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"[clickhouse]\n{line}\n".encode(), Config)
    assert PLAIN not in "".join(traceback.format_exception(refused.value))


def test_a_secret_in_an_override_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(b"", Config, environment={"TICKD__CLICKHOUSE__PASSWORD": PLAIN})
    assert PLAIN not in str(refused.value)


def test_check_prints_none(
    marked: tuple[MarkedSecrets, str], tmp_path: Path, command: Callable[..., Ended]
) -> None:
    secrets, text = marked
    path = tmp_path / "tickd.toml"
    path.write_text(text)
    ended = command("check", path)
    assert ended.code == 0, ended.err
    assert "***" in ended.out
    assert secrets.leaked(ended.out + ended.err) == set()
    assert json.dumps(ended.out)
