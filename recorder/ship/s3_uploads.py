"""Multipart uploads that nobody will finish: the parts of a killed process, invisible and paid for.

The store's client has no word for them, so the two requests that S3 needs (list, abort) are signed
here. Only with an access key from the configuration; elsewhere the bucket's own rule does it. It
decides nothing about age.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from tickd.ports import Clock
from tickd.secrets import Secret

__all__ = ["S3Uploads", "Upload", "authorization"]

_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_UPLOAD: Final = re.compile(r"<Upload>(.*?)</Upload>", re.DOTALL)
_FIELD: Final = r"<{0}>(.*?)</{0}>"
# A bucket's answer names 1,000 uploads at most; the next run takes the next ones.
_ANSWER_BYTES_MAX: Final = 4 << 20


class Upload(NamedTuple):
    """An upload that was begun and neither finished nor aborted."""

    key: str
    upload_id: str


class S3Uploads:
    """The unfinished uploads of one bucket."""

    def __init__(
        self, config: ShipConfig, *, key_id: Secret, key: Secret, token: Secret | None, clock: Clock
    ) -> None:
        parts = urlsplit(config.url)
        self._region = config.options.get("region", "us-east-1")
        endpoint = config.options.get("endpoint", f"https://s3.{self._region}.amazonaws.com")
        self._endpoint = urlsplit(endpoint.rstrip("/"))
        self._bucket = f"{self._endpoint.path}/{parts.netloc}"
        self._prefix = parts.path.strip("/")
        self._key_id, self._key, self._token = key_id, key, token
        self._timeout_s = config.request_timeout_ms / 1000
        self._clock = clock

    @classmethod
    def of(cls, config: ShipConfig, clock: Clock) -> S3Uploads | None:
        """Return None where they cannot be asked for: no S3, or no key in the configuration."""
        secrets = config.secrets
        key = secrets.get("secret_access_key")
        key_id = secrets.get("access_key_id")
        if key_id is None and "access_key_id" in config.options:
            key_id = Secret(config.options["access_key_id"])
        if not config.url.startswith("s3://") or key is None or key_id is None:
            return None
        token = secrets.get("session_token")
        return cls(config, key_id=key_id, key=key, token=token, clock=clock)

    async def list(self, prefix: str) -> list[Upload]:
        """Unfinished uploads whose key begins with `prefix`, without the URL's own path."""
        root = f"{self._prefix}/" if self._prefix else ""
        text = await self._ask("GET", "", {"uploads": "", "prefix": root + prefix})
        found = []
        for entry in _UPLOAD.findall(text):
            key, upload_id = (
                html.unescape(match[1]) if (match := re.search(_FIELD.format(name), entry)) else ""
                for name in ("Key", "UploadId")
            )
            if key.startswith(root + prefix) and upload_id:
                found.append(Upload(key.removeprefix(root), upload_id))
        return found

    async def abort(self, upload: Upload) -> None:
        """Have the store forget the parts; fine if it has already."""
        root = f"{self._prefix}/" if self._prefix else ""
        await self._ask("DELETE", f"/{quote(root + upload.key)}", {"uploadId": upload.upload_id})

    async def _ask(self, method: str, path: str, query: Mapping[str, str]) -> str:
        host, uri = self._endpoint.netloc, self._bucket + path
        at = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, tz=UTC)
        headers = {"x-amz-content-sha256": _EMPTY, "x-amz-date": f"{at:%Y%m%dT%H%M%SZ}"}
        if self._token is not None:
            headers["x-amz-security-token"] = self._token.reveal()
        headers["Authorization"] = authorization(
            method,
            uri,
            query,
            {"host": host, **headers},
            key_id=self._key_id.reveal(),
            key=self._key.reveal(),
            region=self._region,
        )
        url = f"{self._endpoint.scheme}://{host}{uri}?{_query(query)}"
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession() as session,
                session.request(method, URL(url, encoded=True), headers=headers) as reply,
            ):
                text = (await reply.content.read(_ANSWER_BYTES_MAX)).decode(errors="replace")
        except (TimeoutError, aiohttp.ClientError) as error:
            words = f"unfinished uploads in {host}: {error or 'no answer'}"
            raise ShipError(words, kind="unreachable") from None
        if reply.status >= 300 and not (method == "DELETE" and reply.status == 404):
            raise ShipError(f"unfinished uploads in {host}: HTTP {reply.status}", kind="refused")
        return text


def authorization(
    method: str,
    uri: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    key_id: str,
    key: str,
    region: str,
) -> str:
    """Return the header that signs a request without a body.

    Args: `uri`: encoded path; `headers`: those to be signed, lower case, with `x-amz-date`.
    Source: AWS, "Signature Version 4 for API requests: signature calculation", read 2026-11-20.
    """
    stamp = headers["x-amz-date"]
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    request = "\n".join([method, uri, _query(query), lines, names, _EMPTY])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signing = f"AWS4{key}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signature = hmac.digest(signing, to_sign.encode(), "sha256").hex()
    return (
        f"AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={names},Signature={signature}"
    )


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(query[name], safe='')}" for name in sorted(query))
