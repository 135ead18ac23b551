"""Where a file's object is in the store: the key layout of docs/how-to/ship-and-restore.md. Pure.

<prefix>/<node>/<yyyy>/<mm>/<dd>/<segment>          by the UTC day of its first record
<prefix>/<node>/aside/<area>/<name>-<xxh3>          spool and quarantine, by content
<prefix>/<node>/manifest/<lines>-<sum>.jsonl        snapshots, by length and content
<prefix>/<node>/uploading/<name>-<seconds>-<nonce>  on the way; safe to delete when old
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

    def staging(self, key: str, begun_s: int, nonce: str) -> str:
        """Args: `begun_s`: when the upload begins, by this machine's clock."""
        return f"{self.uploading}{key.rsplit('/', 1)[-1]}-{begun_s}-{nonce}"

    def begun_s(self, staging: str) -> int | None:
        """When an upload to a staging key began, None for a key of another make."""
        parts = staging.rsplit("-", 2)
        if not staging.startswith(self.uploading) or len(parts) < 3 or not parts[1].isdigit():
            return None
        return int(parts[1])
