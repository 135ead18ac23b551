"""A slow twin of `risk.positions`: average cost in fractions, nothing rounded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass
class SlowPosition:
    """Size and price as numbers, not mantissas."""

    multiplier: Fraction
    size: Fraction = Fraction(0)
    average: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    # What was received less what was paid, whatever the average says.
    cash: Fraction = Fraction(0)

    def apply(self, side: str, price: Fraction, size: Fraction, fee: Fraction) -> None:
        self.fees += fee
        self.cash += price * size * self.multiplier * (1 if side == "A" else -1)
        change = size if side == "B" else -size
        if self.size and (self.size > 0) != (change > 0):
            closed = min(abs(self.size), abs(change))
            gain = price - self.average if self.size > 0 else self.average - price
            self.realised += gain * closed * self.multiplier
            left = abs(change) - closed
            self.size += closed if change > 0 else -closed
            change = left if change > 0 else -left
            if not change:
                return
        whole = self.size + change
        self.average = (self.average * self.size + price * change) / whole
        self.size = whole

    def unrealised(self, mark: Fraction) -> Fraction:
        return (mark - self.average) * self.size * self.multiplier if self.size else Fraction(0)
