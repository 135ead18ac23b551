"""What the gate answers: a proof that every check passed, or a refusal with its reason.

A proof is made by the gate alone: its constructor wants the gate's seal, and a test keeps that name
out of every other file. Brokers take proofs, so an order that nobody checked has no way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import msgspec

from risk.orders import Request
from risk.reasons import Reason

__all__ = ["ApprovedCancel", "ApprovedOrder", "ApprovedReplace", "Denied", "refusal"]

# Known to the gate.
SEAL: Final = object()


def _check_seal(seal: object) -> None:
    if seal is not SEAL:
        raise TypeError("approvals are made by the gate alone")


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """An order that never left: the first reason, and a bit for every check that failed.

    figures: what the reason compared, by name.
    """

    reason: Reason
    vector: int
    number: int
    figures: Mapping[str, int] = {}


@final
class ApprovedOrder:
    """A new order that passed every check; `epoch` counts the halts that came before."""

    __slots__ = ("epoch", "number", "request")

    def __init__(self, request: Request, number: int, epoch: int, *, seal: object) -> None:
        _check_seal(seal)
        self.request: Final = request
        self.number: Final = number
        self.epoch: Final = epoch


@final
class ApprovedReplace:
    """Another price and whole size of an order that is out, checked under `epoch`."""

    __slots__ = ("epoch", "number", "price", "size")

    def __init__(
        self, number: int, epoch: int, *, price: int | None, size: int, seal: object
    ) -> None:
        _check_seal(seal)
        self.number: Final = number
        self.epoch: Final = epoch
        self.price: Final = price
        self.size: Final = size


@final
class ApprovedCancel:
    """A cancel that the venue's own limit lets through; no halt stops it."""

    __slots__ = ("number",)

    def __init__(self, number: int, *, seal: object) -> None:
        _check_seal(seal)
        self.number: Final = number


def refusal(reason: Reason, number: int) -> Denied:
    """Return a refusal for one reason that is not the gate's."""
    return Denied(reason=reason, vector=1 << reason, number=number)
