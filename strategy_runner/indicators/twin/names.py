"""Every twin under the native module's names."""

from __future__ import annotations

from strategy_runner.indicators.twin.books import (
    BookSlope,
    DepthImbalance,
    IntegratedOfi,
    Mlofi,
    Vamp,
    WeightedDepthPrice,
)
from strategy_runner.indicators.twin.flow import Amihud, Cvd, KyleLambda, TradeFlowImbalance
from strategy_runner.indicators.twin.hawkes import Hawkes, HawkesBivariate
from strategy_runner.indicators.twin.likelihood import (
    hawkes_bivariate_log_likelihood,
    hawkes_log_likelihood,
    hawkes_path,
    hawkes_residuals,
)
from strategy_runner.indicators.twin.prices import (
    BipowerVariation,
    BvcShare,
    DecayedSum,
    EwmaVariance,
    MedRv,
    MinRv,
    RealizedVariance,
    RollSpread,
)
from strategy_runner.indicators.twin.quotes import (
    Microprice,
    Mid,
    Ofi,
    QueueImbalance,
    QuoteSlope,
    Spread,
    SpreadBps,
    WeightedMid,
)
from strategy_runner.indicators.twin.signing import Clnv, Emo, LeeReady, QuoteRule, TickRule
from strategy_runner.indicators.twin.trades import (
    Vpin,
    VpinBvc,
    VpinFixed,
)

__all__ = [
    "Amihud",
    "BipowerVariation",
    "BookSlope",
    "BvcShare",
    "Clnv",
    "Cvd",
    "DecayedSum",
    "DepthImbalance",
    "Emo",
    "EwmaVariance",
    "Hawkes",
    "HawkesBivariate",
    "IntegratedOfi",
    "KyleLambda",
    "LeeReady",
    "MedRv",
    "Microprice",
    "Mid",
    "MinRv",
    "Mlofi",
    "Ofi",
    "QueueImbalance",
    "QuoteRule",
    "QuoteSlope",
    "RealizedVariance",
    "RollSpread",
    "Spread",
    "SpreadBps",
    "TickRule",
    "TradeFlowImbalance",
    "Vamp",
    "Vpin",
    "VpinBvc",
    "VpinFixed",
    "WeightedDepthPrice",
    "WeightedMid",
    "hawkes_bivariate_log_likelihood",
    "hawkes_log_likelihood",
    "hawkes_path",
    "hawkes_residuals",
]
