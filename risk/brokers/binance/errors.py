"""What a refusal of Binance means: whether the request certainly had no effect.

A 5xx, a timeout and the codes that say "execution status unknown" prove nothing; every other 4xx
with a code is final. Pure; it decides nothing about orders.

Sources, read 2026-11-21: binance-spot-api-docs errors.md (2025-01-09) and rest-api "HTTP Return
Codes"; developers.binance.com derivatives/usds-margined-futures/error-code.
"""

from __future__ import annotations

from typing import Final

import msgspec

from risk.errors import BrokerError
from tickd.errors import Action

__all__ = [
    "CREDENTIALS",
    "DUPLICATE_USDM",
    "Refusal",
    "RefusedError",
    "UnclearError",
    "is_definitive",
    "is_duplicate",
    "refusal_of",
    "retry_after_seconds",
    "vendor_text",
]

TEXT_CHARS_MAX: Final = 200
# When a limit is broken and the venue does not say for how long: its windows are minutes.
THROTTLED_S: Final = 60.0
# -1000 unknown, -1001 internal disconnect, -1006 unexpected response, -1007 timeout: "execution
# status unknown". -1008 overloaded comes as a 503, which is unclear by its status.
UNCLEAR: Final = frozenset({-1000, -1001, -1006, -1007})
# Key unknown, malformed, without the right, or the signature is not of its secret.
CREDENTIALS: Final = frozenset({-1002, -1022, -2014, -2015})
CLOCK: Final = -1021
DUPLICATE_USDM: Final = -4116
NO_SUCH_ORDER: Final = frozenset({-2011, -2013})


class Refusal(msgspec.Struct, frozen=True):
    """An error as the venue words it; code 0: it gave none."""

    status: int
    code: int
    words: str


class RefusedError(BrokerError):
    """The venue refused a question for certain."""

    def __init__(self, message: str, refusal: Refusal, *, retry_after_s: float = 0.0) -> None:
        action = Action.FATAL if refusal.code in CREDENTIALS else Action.RETRY
        hint = "check key, secret, permissions and address list" if action is Action.FATAL else None
        super().__init__(message, action=action, hint=hint)
        self.refusal = refusal
        self.retry_after_s = retry_after_s


class UnclearError(BrokerError):
    """Nobody knows what became of a request."""


class _Body(msgspec.Struct):
    code: int = 0
    msg: str = ""


_BODY: Final = msgspec.json.Decoder(_Body)


def retry_after_seconds(header: str | None) -> float:
    """How long a broken limit lasts: what the venue says, a minute when it does not."""
    if header is not None and header.isascii() and header.isdigit():
        return float(header[:6])
    return THROTTLED_S


def vendor_text(raw: bytes | str) -> str:
    """The first 200 characters of what a venue said, with control characters escaped."""
    head = raw[: 4 * TEXT_CHARS_MAX]
    text = head.decode("utf-8", "replace") if isinstance(head, bytes) else head
    return ascii(text[:TEXT_CHARS_MAX])[1:-1]


def refusal_of(status: int, body: bytes | msgspec.Raw) -> Refusal:
    """Read `{"code": …, "msg": …}`; what is none keeps its text and has code 0."""
    try:
        read = _BODY.decode(body)
    except msgspec.MsgspecError:
        return Refusal(status, 0, vendor_text(bytes(body)))
    return Refusal(status, read.code, vendor_text(read.msg))


def is_definitive(refusal: Refusal) -> bool:
    """Whether the request certainly had no effect.

    A 4xx without a code is no answer of the order entry (a proxy, a page) and proves nothing,
    except 403 (firewall), 418 and 429 (limits), which the venue's edge gives before it.
    """
    if not 400 <= refusal.status < 500:
        return False
    if refusal.status in {403, 418, 429}:
        return refusal.code not in UNCLEAR
    return refusal.code != 0 and refusal.code not in UNCLEAR


def is_duplicate(refusal: Refusal) -> bool:
    """Whether an open order has our id already: proof that one of that id is live."""
    return refusal.code == DUPLICATE_USDM or (
        refusal.code == -2010 and refusal.words.startswith("Duplicate order sent")
    )
