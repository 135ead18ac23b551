"""One `[[indicators]]` table: a name, a kind with its parameters, and the topics it is computed of.

It checks everything that can be known without data, the parameters by making the indicator once. It
feeds nothing; `strategy_runner/indicators/indicator_set.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tickd import native
from tickd.errors import TickdError
from tickd.topics import Pattern

__all__ = ["KINDS", "IndicatorConfig"]

# A kind and the class that computes it; docs/indicators.md has their parameters.
KINDS: Final[Mapping[str, str]] = {
    "amihud": "Amihud",
    "bipower_variation": "BipowerVariation",
    "book_slope": "BookSlope",
    "bvc_share": "BvcShare",
    "cvd": "Cvd",
    "depth_imbalance": "DepthImbalance",
    "ewma_variance": "EwmaVariance",
    "hawkes": "Hawkes",
    "hawkes_bivariate": "HawkesBivariate",
    "integrated_ofi": "IntegratedOfi",
    "kyle_lambda": "KyleLambda",
    "med_rv": "MedRv",
    "microprice": "Microprice",
    "mid": "Mid",
    "min_rv": "MinRv",
    "mlofi": "Mlofi",
    "ofi": "Ofi",
    "queue_imbalance": "QueueImbalance",
    "quote_slope": "QuoteSlope",
    "realized_variance": "RealizedVariance",
    "roll_spread": "RollSpread",
    "spread": "Spread",
    "spread_bps": "SpreadBps",
    "trade_flow_imbalance": "TradeFlowImbalance",
    "vamp": "Vamp",
    "vpin": "Vpin",
    "vpin_bvc": "VpinBvc",
    "vpin_fixed": "VpinFixed",
    "weighted_depth_price": "WeightedDepthPrice",
    "weighted_mid": "WeightedMid",
}
_TRADES: Final = ("trade", "aggtrade")
# What an indicator takes, and the channels that have it.
_CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "quotes": ("quote", "depth"),
    "trades": _TRADES,
    "levels": ("depth",),
    "prices": (*_TRADES, "quote", "depth"),
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class IndicatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An indicator, computed for every topic that one of its patterns selects, each by itself.

    topics: patterns `channel.venue.symbol`, the channel exact; publish `every`: a signal for every
    message, `changed`: only when the value is another one.
    """

    name: str
    kind: str
    topics: tuple[str, ...]
    params: dict[str, Any] = {}
    publish: Literal["changed", "every"] = "changed"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"indicator {self.name!r}: a name has a-z, 0-9 and _, first a letter")
        if self.kind not in KINDS:
            raise ValueError(
                f"indicator {self.name}: no kind {self.kind!r}, one of {', '.join(KINDS)}"
            )
        takes = native.indicator_takes(self.snapshot())
        if not self.topics:
            raise ValueError(f"indicator {self.name}: no topics")
        for text in self.topics:
            try:
                channel = Pattern.parse(text).channel
            except TickdError as error:
                raise ValueError(f"indicator {self.name}: {error}: {error.hint}") from error
            if channel not in _CHANNELS[takes]:
                raise ValueError(
                    f"indicator {self.name}: {self.kind} takes {takes}, which {text!r} has not;"
                    f" topics of {' or '.join(_CHANNELS[takes])}"
                )

    @property
    def definition(self) -> dict[str, Any]:
        """What its values depend on."""
        return {"name": self.name, "kind": self.kind, "params": self.params}

    @property
    def number(self) -> int:
        """The definition's own number, the same in every run: `aux` of its signals."""
        text = msgspec.json.encode(self.definition, order="deterministic")
        return int(native.xxh3_hex(text), 16) & 0xFFFF_FFFF

    def snapshot(self) -> bytes:
        """The indicator before any input. Raises ValueError: the parameters are refused."""
        if "strict" in self.params:
            raise ValueError(f"indicator {self.name}: strict has no meaning here")
        try:
            made = getattr(native, KINDS[self.kind])(**self.params)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"indicator {self.name}: {error}") from error
        state: bytes = made.state()
        return state
