"""A file that is no TOML is told of by place and key, and by nothing of its values."""

from __future__ import annotations

import random
import tomllib

import pytest

from tickd.toml_faults import toml_fault

WORDS = ("Tr0ub4dor", "battery")
# Every way to write two words, @1 and @2, where a secret should stand.
WAYS = (
    "@1 @2", "@1", '"@1 @2', "'@1 @2", '"@1" @2', '"@1\\@2"', '"""@1\n@2', '"""@1\n@2 = \\q"""',
    "[@1 @2]", "[\n@1\n@2\n]", "[\n1,\n[@1]\n]", "{@1 = @2}", "{a = @1 @2}", "{a = 1, a = @1.@2}",
    "@1\n@2", "@1 = @2", "@1.@2 = 1", "1 @1 @2", "2020-13-45 @1 @2", "0x@1 @2", "@1\x00@2",
    '"@1\x01@2"', '"\\u@1@2"', "\n@1 @2", "@1\r@2", "'''@1 @2\n", "#@1 @2",
)  # fmt: skip
HEADS = ("", "[clickhouse]\n", 'a = """x"""\n[clickhouse]\n', "a = '''x\ny'''\n")
SIGNS = (" = ", "=", ": ", " ", "\t=\t")


def fault_of(text: str) -> str:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return toml_fault(error, text)
    return ""


@pytest.mark.parametrize("way", WAYS)
def test_no_word_of_a_secret_is_repeated(way: str) -> None:
    value = way.replace("@1", WORDS[0]).replace("@2", WORDS[1])
    faults = 0
    for head in HEADS:
        for sign in SIGNS:
            for tail in ("", "\nport = 1\n", "\n[http]\nport = 1\n"):
                fault = fault_of(f"{head}password{sign}{value}{tail}")
                faults += bool(fault)
                assert not any(word in fault for word in WORDS), fault
    assert faults, "none of these is wrong: the test looks at nothing"


def test_no_part_of_a_file_that_was_cut_or_garbled_is_repeated() -> None:
    """Seeded damage to a file with a secret in it, thousands of times."""
    whole = '[clickhouse]\nuser = "ada"\npassword = "Tr0ub4dor battery"\n[[venues]]\nname = "x"\n'
    moments = random.Random(20261121)
    faults = 0
    for _ in range(4_000):
        at, to = sorted(moments.choices(range(len(whole)), k=2))
        middle = moments.choice(["", '"', "'", "=", "\n", "[", "\\", "#", '"""', " "])
        fault = fault_of(whole[:at] + middle + whole[min(to, at + 3) :])
        faults += bool(fault)
        assert not any(word in fault for word in WORDS), fault
    assert faults > 1_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[clickhouse]\npassword = correct horse\n",
            "not TOML: invalid value (at line 2, column 12, password)",
        ),
        (
            "[a]\nx = 1\r\n[a]\n",
            "not TOML: cannot declare twice (at line 3, column 3, [a])",
        ),
        (
            'x = 1\nx = "2"\n',
            "not TOML: cannot overwrite a value (at line 2, column 8, x)",
        ),
        ("node = [", "not TOML: invalid value (at its end)"),
        (
            "password: x\n",
            "not TOML: expected '=' after a key in a key/value pair (at line 1, column 9)",
        ),
        ('x = "a\\q"\n', "not TOML: unescaped '\\' in a string (at line 1, column 9, x)"),
        # The line may belong to a text that began above it.
        ('x = """\ny = \\q\n"""\n', "not TOML: unescaped '\\' in a string (at line 2, column 7)"),
    ],
)
def test_place_and_key_are_told(text: str, told: str) -> None:
    assert fault_of(text) == told
