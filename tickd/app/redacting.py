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
    "password|passphrase|passwd|secret|token|api_?key|apikey|access_?key|private_?key|signature"
    "|listen_?key|authorization|cookie|credential|person_?id|confirm"
)
_NAME: Final = re.compile(rf"(?:{_WORDS})", re.IGNORECASE)
# The path of a secret is none, and helps to find it.
_TAILS: Final = "_file|_path|_dir|_seconds|_bytes|_ms|_count"
_PATH_NAME: Final = re.compile(rf"(?:{_TAILS})$", re.IGNORECASE)
# What somebody owns is nobody's business who looks for a fault.
_MONEY: Final = frozenset(
    ("equity", "free", "margin_used", "unrealised", "realised", "fees", "day_pnl", "positions")
)
_PRIVATE_KEY: Final = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)"
_SHAPES: Final = (
    # Also one that was cut off.
    (re.compile(_PRIVATE_KEY, re.DOTALL), HIDDEN),
    (re.compile(r"(?<=://)[^/\s\"'@]+@"), f"{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    # name=value, name: value, "name": "value", also with the quotes of JSON within JSON.
    (
        re.compile(
            rf"(?i)([\w.-]*(?:{_WORDS})(?!\w*(?:{_TAILS})\b)[\w-]*"
            r"\\?[\"']?\s*[=:]\s*\\?[\"']?)(?![{\[\s])([^\s\"'&,;}\]\\]+)"
        ),
        rf"\1{HIDDEN}",
    ),
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
        """The same of what JSON has: values whose names sound like secrets or money are hidden."""
        if name in _MONEY and value not in (None, [], {}):
            return HIDDEN
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.tree(each, str(key)) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(each, name) for each in value]
        if isinstance(value, str):
            hidden = value and _NAME.search(name) and not _PATH_NAME.search(name)
            return HIDDEN if hidden else self.text(value)
        return value


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
