"""Where a file's object is in the store: the key layout of docs/how-to/ship-and-restore.md. Pure.

<prefix>/<node>/<yyyy>/<mm>/<dd>/<segment>          by the UTC day of its first record
<prefix>/<node>/aside/<area>/<name>-<xxh3>          spool and quarantine, by content
<prefix>/<node>/manifest/<lines>-<sum>.jsonl        snapshots, by length and content
<prefix>/<node>/uploading/<name>-<nonce>            on the way; safe to delete when old
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SEGMENT_NAME", "Keys"]

SEGMENT_NAME: Final = re.compile(r"\d{20}-(\d{4})(\d\d)(\d\d)T\d{6}\.tkraw")


class Keys:
    """The keys of one node."""

    def __init__(self, prefix: str, node: int) -> None:
        self.root = f"{prefix}/{node}"
        self.manifests = f"{self.root}/manifest/"
        self.uploading = f"{self.root}/uploading/"

    def segment(self, name: str) -> str:
        match = SEGMENT_NAME.fullmatch(name)
        assert match is not None, name
        year, month, day = match.groups()
        return f"{self.root}/{year}/{month}/{day}/{name}"

    def aside(self, file: str, content: str) -> str:
        """Args: `file`: as in the manifest, `quarantine/x` or `sink/…/x`; `content`: its xxh3."""
        return f"{self.root}/aside/{file}-{content}"

    def manifest(self, lines: int, total: str) -> str:
        return f"{self.manifests}{lines:012d}-{total}.jsonl"

    def staging(self, key: str, nonce: str) -> str:
        return f"{self.uploading}{key.rsplit('/', 1)[-1]}-{nonce}"
