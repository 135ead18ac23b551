"""Configuration: strict, with messages that name file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tickd import config
from tickd.errors import ConfigError
from tickd.secrets import Secret


class Venue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    symbols: tuple[str, ...] = ()
    depth_interval_ms: int = 100


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: int
    state_dir: str = "/var/lib/tickd"
    password: Secret | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.id < 65_536:
            raise ValueError(f"id {self.id} is outside 0..65535")


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    node: Node
    venues: tuple[Venue, ...] = ()


def message(text: str, environment: dict[str, str] | None = None) -> tuple[str, str | None]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode(), Root, source="tickd.toml", environment=environment)
    return str(caught.value), caught.value.hint


def test_good_file_gives_frozen_values_with_defaults(tmp_path: Path) -> None:
    file = tmp_path / "tickd.toml"
    file.write_text('[node]\nid = 3\n[[venues]]\nname = "okx"\nsymbols = ["BTC-USDT"]\n')
    root = config.load(file, Root)
    assert (root.node.id, root.node.state_dir) == (3, "/var/lib/tickd")
    assert root.venues[0] == Venue(name="okx", symbols=("BTC-USDT",))
    with pytest.raises(AttributeError):
        root.node.id = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ('[node]\nid = "1"', "tickd.toml: node.id: expected `int`, got `str`", None),
        ("[node]", "tickd.toml: node.id: required key is missing", None),
        (
            "[node]\nid = 1\nstate = 2",
            "tickd.toml: node.state: unknown key",
            "allowed here: id, password, state_dir",
        ),
        (
            '[node]\nid = 1\n[[venues]]\nname = "a"\nfoo = 1',
            "tickd.toml: venues[0].foo: unknown key",
            "allowed here: depth_interval_ms, name, symbols",
        ),
        ("[nodes]", "tickd.toml: nodes: unknown key", "allowed here: node, venues"),
        ("[node]\nid = -1", "tickd.toml: node: id -1 is outside 0..65535", None),
        (
            '[node]\nid = 1\npassword = "hunter2"',
            "tickd.toml: node.password: a secret is not written here",
            '{ file = "…" }, { credential = "name" } or { env = "NAME" }',
        ),
    ],
)
def test_bad_file_is_explained(text: str, words: str, hint: str | None) -> None:
    assert message(text) == (words, hint)


def test_bad_toml_names_the_line() -> None:
    assert "line 2" in message("[node]\nid = = 1")[0]


def test_unreadable_and_oversized_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml", Root)
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (config.CONFIG_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="longer than"):
        config.load(big, Root)
    with pytest.raises(ConfigError, match="byte 1"):
        config.parse(b"#\xff", Root)


def test_environment_overrides_only_through_the_mapping_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TICKD__NODE__ID", "9")
    text = b"[node]\nid = 1"
    assert config.parse(text, Root).node.id == 1
    given = {"TICKD__NODE__ID": "7", "TICKD__NODE__STATE_DIR": "/srv/x", "PATH": "/bin"}
    node = config.parse(text, Root, environment=given).node
    assert (node.id, node.state_dir) == (7, "/srv/x")


def test_bad_override_names_its_variable() -> None:
    words, _ = message("[node]\nid = 1", {"TICKD__NODE__ID": "seven"})
    assert words == "tickd.toml: node.id (from TICKD__NODE__ID): expected `int`, got `str`"
    words, _ = message("[node]\nid = 1", {"TICKD__NOD__ID": "7"})
    assert words == "tickd.toml: nod (from TICKD__NOD__ID): unknown key"
    assert "no table" in message("[node]\nid = 1", {"TICKD__NODE__ID__X": "1"})[0]


def test_secrets_come_from_file_or_environment_and_are_hidden_in_the_dump(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    root = config.parse(f'[node]\nid=1\npassword={{file="{file}"}}'.encode(), Root)
    assert root.node.password == Secret("hunter2")
    root = config.parse(
        b'[node]\nid=1\npassword={env="PW"}', Root, environment={"PW": "correct horse"}
    )
    assert root.node.password == Secret("correct horse")
    assert 'password = "***"' in config.dump(root)
    assert "horse" not in config.dump(root) + repr(root)
    assert "PW is not set" in message('[node]\nid=1\npassword={env="PW"}')[0]


def test_dump_reads_back_as_the_same_configuration() -> None:
    root = Root(
        node=Node(id=2, state_dir='quote " back \\ tab\t é'),
        venues=(Venue(name="a"), Venue(name="b", symbols=("X", "Y"), depth_interval_ms=0)),
    )
    assert config.parse(config.dump(root).encode(), Root) == root
    assert "# password is not set" in config.dump(root)
