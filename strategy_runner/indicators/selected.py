"""The indicators of the chosen backend, under their own names.

Type checkers see the native classes; the twins have the same faces. It chooses nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategy_runner.indicators.backend import CHOICE, load

if TYPE_CHECKING:
    from tickd.native import (
        Amihud,
        BipowerVariation,
        BookSlope,
        BvcShare,
        Clnv,
        Cvd,
        DecayedSum,
        DepthImbalance,
        Emo,
        EwmaVariance,
        Hawkes,
        HawkesBivariate,
        IntegratedOfi,
        KyleLambda,
        LeeReady,
        MedRv,
        Microprice,
        Mid,
        MinRv,
        Mlofi,
        Ofi,
        QueueImbalance,
        QuoteRule,
        QuoteSlope,
        RealizedVariance,
        RollSpread,
        Spread,
        SpreadBps,
        TickRule,
        TradeFlowImbalance,
        Vamp,
        Vpin,
        VpinBvc,
        VpinFixed,
        WeightedDepthPrice,
        WeightedMid,
        hawkes_bivariate_log_likelihood,
        hawkes_log_likelihood,
        hawkes_path,
        hawkes_residuals,
    )
else:
    _chosen = load(CHOICE.name)
    Amihud = _chosen.Amihud
    BipowerVariation = _chosen.BipowerVariation
    BookSlope = _chosen.BookSlope
    BvcShare = _chosen.BvcShare
    Clnv = _chosen.Clnv
    Cvd = _chosen.Cvd
    DecayedSum = _chosen.DecayedSum
    DepthImbalance = _chosen.DepthImbalance
    Emo = _chosen.Emo
    EwmaVariance = _chosen.EwmaVariance
    Hawkes = _chosen.Hawkes
    HawkesBivariate = _chosen.HawkesBivariate
    IntegratedOfi = _chosen.IntegratedOfi
    KyleLambda = _chosen.KyleLambda
    LeeReady = _chosen.LeeReady
    MedRv = _chosen.MedRv
    Microprice = _chosen.Microprice
    Mid = _chosen.Mid
    MinRv = _chosen.MinRv
    Mlofi = _chosen.Mlofi
    Ofi = _chosen.Ofi
    QueueImbalance = _chosen.QueueImbalance
    QuoteRule = _chosen.QuoteRule
    QuoteSlope = _chosen.QuoteSlope
    RealizedVariance = _chosen.RealizedVariance
    RollSpread = _chosen.RollSpread
    Spread = _chosen.Spread
    SpreadBps = _chosen.SpreadBps
    TickRule = _chosen.TickRule
    TradeFlowImbalance = _chosen.TradeFlowImbalance
    Vamp = _chosen.Vamp
    Vpin = _chosen.Vpin
    VpinBvc = _chosen.VpinBvc
    VpinFixed = _chosen.VpinFixed
    WeightedDepthPrice = _chosen.WeightedDepthPrice
    WeightedMid = _chosen.WeightedMid
    hawkes_bivariate_log_likelihood = _chosen.hawkes_bivariate_log_likelihood
    hawkes_log_likelihood = _chosen.hawkes_log_likelihood
    hawkes_path = _chosen.hawkes_path
    hawkes_residuals = _chosen.hawkes_residuals

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
