"""What must not leave this machine is taken out of texts and trees that do. Pure.

Two nets: the secrets that this configuration has, however they are written, and shapes that secrets
have. A name that only sounds like a secret costs a value; a secret that is missed costs a key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from tickd.secrets import HIDDEN

__all__ = ["Redactor"]

# Shorter ones would be found in every second word.
SECRET_CHARACTERS_MIN: Final = 4
_WORDS: Final = (
    "password|passphrase|passwd|secret|token|(?:api|access|private|listen)[_-]?key|signature"
    "|authorization|cookie|credential|person[_-]?id|confirm"
)
_NAME: Final = re.compile(rf"(?:{_WORDS})", re.IGNORECASE)
# The path of a secret is none, and helps to find it.
_TAILS: Final = "[_.-](?:file|path|dir|seconds|bytes|ms|count)"
_PATH_NAME: Final = re.compile(rf"{_TAILS}$", re.IGNORECASE)
# What somebody owns is nobody's business who looks for a fault: figures of `Ledger.draw`.
_MONEY: Final = frozenset(
    (
        "equity", "free", "margin_used", "unrealised", "realised", "realised_day", "fees",
        "day_pnl", "peak", "positions",
    )
)  # fmt: skip
_MONEY_METRICS: Final = "tickd_risk_account_amount"
_PRIVATE_KEY: Final = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)"
# Lengths are bounded: a line that is made for it must not take minutes.
_SECRET: Final = rf"(?:{_WORDS})(?![\w.-]{{0,64}}{_TAILS}\b)[\w.-]{{0,64}}"
# A name up to where its value begins, also with the quotes of JSON within JSON.
_NAMED: Final = rf"(?i)({_SECRET}\\*[\"']?\]?\s*[=:]\s*(?:[bfru]{{1,2}}(?=[\"']))?"
# To the same quote, as deep in backslashes; without one to the end of the line.
_QUOTED: Final = r"(\\*)(\"{3}|'{3}|[\"'])(?:(?!(?<!\\)\2\3)[^\n])*"
_BRACKETS: Final = r"[{\[](?:[^{}\[\]\n]|[{\[][^{}\[\]\n]*[}\]]?)*[}\]]?"
# Not behind quotes or brackets, which have shapes of their own.
_BARE: Final = r"(?![{\[\s\"'\\])"
_WORD: Final = r"[^\s\"'&,;}\]\\]+"
_MORE_WORDS: Final = rf"(?:[ \t]+(?![\w.-]{{1,64}}\s*[=:]){_WORD})*"
_SHAPES: Final = (
    # Also one that was cut off.
    (re.compile(_PRIVATE_KEY, re.DOTALL), HIDDEN),
    # To the last @: a password may have one, or a slash, that nobody has encoded.
    (re.compile(r"(?<=://)[^\s\"']{1,512}@"), f"{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    # Headers have several words.
    (
        re.compile(
            r"(?i)((?:authorization|cookie)\\*[\"']?\]?\s*[=:]\s*\\*[\"']?)(?=[^\s\"'\\])"
            r"(?:[^\n\"'\\]|(?<==)\"[^\"\n]*\")+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"{_NAMED}){_QUOTED}"), rf"\1\2\3{HIDDEN}"),
    # Not where a secret is told to be.
    (re.compile(rf"{_NAMED})(?!{{\s*[\"']?(?:file|env|credential)\b){_BRACKETS}"), rf"\1{HIDDEN}"),
    # A line of a file: without quotes the value goes on to its end.
    (
        re.compile(rf"(?im)^([ \t]*[\w.-]{{0,64}}?{_SECRET}\s*[=:]\s*){_BARE}[^\n]+"),
        rf"\1{HIDDEN}",
    ),
    # Within a line it goes on to the next name; behind a colon words are more often of tickd's own.
    (re.compile(rf"(?i)({_SECRET}\s*=\s*){_BARE}{_WORD}{_MORE_WORDS}"), rf"\1{HIDDEN}"),
    (re.compile(rf"{_NAMED}\\*[\"']?)(?![{{\[\s]){_WORD}"), rf"\1{HIDDEN}"),
    (
        re.compile(
            rf"(?i)((?<![\w-])--[\w-]{{0,64}}{_SECRET}\s+)(?!-)"
            r"(?:\"[^\"\n]*|'[^'\n]*|[^\s\"']+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(?m)^((?:{_MONEY_METRICS})(?:\{{.*\}})? +)\S+"), rf"\1{HIDDEN}"),
    # A tree that is cut off has no other net; and the reason of a halt.
    (
        re.compile(
            rf"(\"(?:{'|'.join(sorted(_MONEY))})\\*\"\s*:\s*)"
            r"(?:\[[^\]]*\]?|\\*\"[^\"\\]*|[^\s\[\"\\,}]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"-?\d+(?= \(1e-8\))"), HIDDEN),
)


class Redactor:
    """Takes out what it knows and what looks like it. `secrets`: values, as they are used."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            # A key file has lines; each of them alone would be told, too.
            for part in {secret.strip(), *(line.strip() for line in secret.splitlines())}:
                if len(part) >= SECRET_CHARACTERS_MIN and not part.startswith("-----"):
                    forms |= _written(part)
        # The longest first: a secret may hold another one.
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    def tree(self, value: Any, name: str = "") -> Any:
        """The same of what JSON has; all below a name of secrets or money is hidden."""
        secret = name in _MONEY or (_NAME.search(name) and not _PATH_NAME.search(name))
        if secret and value not in (None, "", [], {}):
            return HIDDEN
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.tree(each, str(key)) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(each, name) for each in value]
        return self.text(value) if isinstance(value, str) else value


def _written(secret: str) -> set[str]:
    """How a value may stand in a text."""
    data = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        data.hex(),
        secret.replace("\\", "\\\\").replace('"', '\\"'),
    }
