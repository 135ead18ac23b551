"""Signatures against the examples that Binance publishes, and against the public half of a key."""

from __future__ import annotations

import sys
from base64 import b64decode
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from risk.brokers.binance.signing import Key, escaped, read_key
from tests.harness.binance_stand import API_KEY, SECRET, key_files
from tickd.errors import ConfigError
from tickd.secrets import Secret

# web-socket-api.md, "SIGNED request example (HMAC)", state of 2025-04-25, read 2026-11-21.
DOCUMENTED = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01000000",
    "price": "52000.00",
    "newOrderRespType": "ACK",
    "recvWindow": 100,
    "timestamp": 1645423376532,
}
DOCUMENTED_SIGNATURE = "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a"


def hmac_key() -> Key:
    return Key(Secret(API_KEY), Secret(SECRET))


def pem(private: Ed25519PrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> Secret:
    how = NoEncryption() if password is None else BestAvailableEncryption(password)
    return Secret(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode())


def test_documented_request_has_the_documented_signature() -> None:
    key = hmac_key()
    signed = key.signed(DOCUMENTED)
    assert signed["signature"] == DOCUMENTED_SIGNATURE
    assert signed["apiKey"] == API_KEY
    assert not key.can_log_on


def test_order_of_parameters_does_not_matter_over_a_websocket() -> None:
    turned = dict(reversed(DOCUMENTED.items()))
    assert hmac_key().signed(turned)["signature"] == DOCUMENTED_SIGNATURE


def test_documented_query_has_the_documented_signature() -> None:
    """rest-api.md, "SIGNED Endpoint Example (HMAC)": POST /api/v3/order, query string."""
    params = {
        "symbol": "LTCBTC",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": 1,
        "price": "0.1",
        "recvWindow": 5000,
        "timestamp": 1499827319559,
    }
    payload, _, signature = hmac_key().query(params).partition("&signature=")
    assert payload == (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    assert signature == "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


def test_query_is_escaped_before_it_is_signed() -> None:
    text = hmac_key().query({"symbol": "币安USDT", "a": "x&y=z"})
    assert text.startswith("symbol=%E5%B8%81%E5%AE%89USDT&a=x%26y%3Dz&signature=")
    assert escaped({"a": "+/ "}) == "a=%2B%2F%20"


def test_ed25519_signature_is_of_the_payload() -> None:
    private = Ed25519PrivateKey.generate()
    key = Key(Secret("k"), pem(private))
    assert key.can_log_on
    signed = key.signed({"b": 2, "a": 1})
    private.public_key().verify(b64decode(str(signed["signature"])), b"a=1&apiKey=k&b=2")
    payload, _, signature = key.query({"b": 2, "a": 1}).partition("&signature=")
    private.public_key().verify(b64decode(unquote(signature)), payload.encode())


def test_keys_that_binance_does_not_take_or_we_cannot_read() -> None:
    encrypted = pem(Ed25519PrivateKey.generate(), b"password")
    with pytest.raises(ConfigError, match="unencrypted PEM"):
        Key(Secret("k"), encrypted)
    with pytest.raises(ConfigError, match="not supported"):
        Key(Secret("k"), pem(rsa.generate_private_key(65537, 2048)))
    broken = "-----BEGIN PRIVATE KEY-----\nsecretsecret\n-----END PRIVATE KEY-----"
    with pytest.raises(ConfigError) as caught:
        Key(Secret("k"), Secret(broken))
    assert "secretsecret" not in str(caught.value)


def test_ed25519_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = pem(Ed25519PrivateKey.generate())
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(ConfigError, match="cryptography") as caught:
        Key(Secret("k"), secret)
    assert caught.value.hint is not None


def test_files_open_to_everybody_are_refused(tmp_path: Path) -> None:
    api_key_file, secret_file = key_files(tmp_path)
    assert SECRET not in repr(read_key(api_key_file, secret_file))
    for path in (api_key_file, secret_file):
        Path(path).chmod(0o604)
        with pytest.raises(ConfigError, match="open to everybody"):
            read_key(api_key_file, secret_file)
        Path(path).chmod(0o600)
    with pytest.raises(ConfigError, match="No such file"):
        read_key(api_key_file, secret_file + ".no")
