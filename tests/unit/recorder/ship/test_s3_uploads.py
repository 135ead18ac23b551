"""Signatures against AWS's published examples; the requests themselves are tried in the proofs."""

from __future__ import annotations

import pytest

from recorder.ship.config import ShipConfig
from recorder.ship.s3_uploads import S3Uploads, authorization
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ({"lifecycle": ""}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            {"prefix": "J", "max-keys": "2"},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_published_examples(query: dict[str, str], signature: str) -> None:
    """Amazon S3 API reference, "Examples: Signature Calculations", read 2026-11-20."""
    header = authorization(
        "GET",
        "/",
        query,
        {
            "host": "examplebucket.s3.amazonaws.com",
            "x-amz-content-sha256": EMPTY,
            "x-amz-date": "20130524T000000Z",
        },
        key_id="AKIAIOSFODNN7EXAMPLE",
        key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
    )
    assert header == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"
    )


def test_only_s3_with_a_key_in_the_configuration_is_asked() -> None:
    keys = {"access_key_id": Secret("a"), "secret_access_key": Secret("b")}
    clock = ManualClock()
    assert S3Uploads.of(ShipConfig(url="s3://b", secrets=keys), clock) is not None
    assert S3Uploads.of(ShipConfig(url="s3://b"), clock) is None
    assert S3Uploads.of(ShipConfig(url="memory://", secrets=keys), clock) is None
    plain = ShipConfig(
        url="s3://b",
        options={"access_key_id": "a"},
        secrets={"secret_access_key": Secret("b")},
    )
    assert S3Uploads.of(plain, clock) is not None
