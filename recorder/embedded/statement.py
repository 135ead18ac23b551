"""What kind of statement a request holds, and where its FORMAT clause and its data begin.

The engine returns results only through a file name (INTO OUTFILE) and takes data only through one
(FROM INFILE), so those clauses must be put at the right place. This file finds the place; it does
not validate SQL: the engine does. Pure text work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

__all__ = ["Statement", "StatementError", "parse_statement"]

# Statements that yield rows and accept INTO OUTFILE.
_READS: Final = frozenset(
    {"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK", "VALUES"},
)
_TOKEN: Final = re.compile(
    rb"""
      (?P<blank> \s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
              | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z0-9_]+ )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN: Final = b"([{"
_CLOSE: Final = b")]}"
_AFTER_FORMAT: Final = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:\r?\n)?")


class StatementError(Exception):
    """A statement this interface refuses, with the ClickHouse code and name of the refusal."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


class _Token(NamedTuple):
    kind: str  # quoted, word or other
    text: bytes  # words in upper case
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement cut at the places where clauses are inserted.

    kind `read`: `head` ends before FORMAT, `tail` is what follows the format's name (SETTINGS).
    kind `insert`: `head` ends before SETTINGS or FORMAT, `tail` is the SETTINGS clause, data begins
    at `data_start`.
    kind `other`: `head` is the whole statement.
    """

    kind: Literal["read", "insert", "other"]
    head: str
    tail: str = ""
    format: str | None = None
    data_start: int = 0
    changes_database: bool = False

    def into(self, path: str, default_format: str, *, comment: str = "") -> str:
        """Return the reading statement with its rows sent to `path`."""
        chosen = self.format or default_format
        return f"{self.head}\nINTO OUTFILE '{path}' TRUNCATE\nFORMAT {chosen} {self.tail}{comment}"

    def data_from(self, path: str) -> str:
        """Return the insert with its data taken from `path`."""
        return f"{self.head}\nFROM INFILE '{path}'\n{self.tail} FORMAT {self.format}"


def parse_statement(text: bytes) -> Statement:
    """Cut one statement; after an insert's head come any bytes. Raises StatementError."""
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is None:
        raise StatementError(62, "SYNTAX_ERROR", "Empty query")
    if first.text == b"INSERT":
        return _insert(text, tokens)
    rest = _until_end(tokens)
    end = rest[-1].end if rest else first.end
    words = [t.text for t in rest if t.kind == "word" and t.depth == 0]
    if first.text == b"(" or (
        first.text.decode("ascii", "replace") in _READS and b"INSERT" not in words
    ):
        return _read(text, rest, end)
    return Statement("other", _text(text[:end]), changes_database=first.text == b"USE")


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "blank":
            continue
        if match["quoted"] is not None:  # lastgroup may name the inner group
            kind = "quoted"
        token = match[0]
        if kind == "other" and token in _CLOSE:
            depth = max(0, depth - 1)
        yield _Token(kind, token.upper() if kind == "word" else token, *match.span(), depth)
        if kind == "other" and token in _OPEN:
            depth += 1


def _until_end(tokens: Iterator[_Token]) -> list[_Token]:
    """Return the tokens before the final semicolons."""
    found: list[_Token] = []
    ended = False
    for token in tokens:
        if token.text == b";" and token.kind == "other":
            ended = True
        elif ended:
            raise StatementError(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        else:
            found.append(token)
    return found


def _read(text: bytes, rest: list[_Token], end: int) -> Statement:
    for token, after in pairwise(rest):
        if token.text == b"INTO" and after.text == b"OUTFILE":
            raise StatementError(358, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed")
    for at in range(len(rest) - 2, -1, -1):
        token, name = rest[at], rest[at + 1]
        if token.text != b"FORMAT" or token.depth or name.kind != "word":
            continue
        following = rest[at + 2] if at + 2 < len(rest) else None
        if following is None or following.text == b"SETTINGS":
            return Statement(
                "read",
                _text(text[: token.start]),
                _text(text[name.end : end]),
                _text(text[name.start : name.end]),
            )
    return Statement("read", _text(text[:end]))


def _insert(text: bytes, tokens: Iterator[_Token]) -> Statement:
    """Follow the head of an insert: SELECT makes it ordinary, VALUES or FORMAT start data."""
    settings_at: int | None = None
    last = _Token("word", b"INSERT", 0, 0, 0)
    for token in tokens:
        previous, last = last, token
        if token.depth or token.kind != "word":
            continue
        head_end = token.start if settings_at is None else settings_at
        tail = "" if settings_at is None else _text(text[settings_at : token.start])
        if token.text == b"INFILE" and previous.text == b"FROM":
            raise StatementError(48, "NOT_IMPLEMENTED", "FROM INFILE is not allowed")
        if token.text == b"SETTINGS":
            settings_at = token.start
        elif token.text in {b"SELECT", b"WITH"}:
            return _insert_select(text, tokens, token)
        elif token.text == b"VALUES" and previous.text not in {
            b"INTO",
            b"TABLE",
            b".",
            b"FUNCTION",
        }:
            return Statement("insert", _text(text[:head_end]), tail, "Values", token.end)
        elif token.text == b"FORMAT" and previous.text not in {b"INTO", b"TABLE", b"."}:
            name = next(tokens, None)
            if name is None or name.kind != "word":
                break
            skipped = _AFTER_FORMAT.match(text, name.end)
            data_start = skipped.end() if skipped is not None else name.end
            chosen = _text(text[name.start : name.end])
            return Statement("insert", _text(text[:head_end]), tail, chosen, data_start)
    return Statement("other", _text(text))  # the engine says what is wrong with it


def _insert_select(text: bytes, tokens: Iterator[_Token], select: _Token) -> Statement:
    rest = _until_end(tokens)
    for one, after in pairwise(rest):
        if one.text == b"INPUT" and after.text == b"(":
            raise StatementError(48, "NOT_IMPLEMENTED", "input() is not supported")
    return Statement("other", _text(text[: rest[-1].end if rest else select.end]))


def _text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape").strip()
