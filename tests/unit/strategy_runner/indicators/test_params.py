"""Parameters read back make the same indicator; both backends say the same."""

from __future__ import annotations

from types import ModuleType

import pytest

from strategy_runner.indicators.backend import load

ALPHA, BETAS = ((0.4, 0.1), (0.2, 0.3)), ((1.0, 2.0), (1.5, 0.5))
CASES: list[tuple[str, dict[str, object]]] = [
    ("Ofi", {}),
    ("Ofi", {"window": 5, "missing": "unknown", "strict": True}),
    ("Ofi", {"horizon_ns": 5, "skip_crossed": True}),
    ("Ofi", {"half_life_ns": 7}),
    ("Mid", {"skip_crossed": True}),
    ("Spread", {}),
    ("SpreadBps", {}),
    ("WeightedMid", {}),
    ("QueueImbalance", {}),
    ("QuoteSlope", {"strict": True}),
    ("Microprice", {"table": [[-0.1, 0.1], [-0.2, 0.2], [-0.3, 0.3]], "tick": 0.01}),
    ("Mlofi", {"levels": 3, "window": 4, "weights": [0.5, 0.25, 0.125]}),
    ("Mlofi", {"levels": 2}),
    ("IntegratedOfi", {"weights": [0.75, -0.25], "half_life_ns": 9}),
    ("DepthImbalance", {"levels": 2}),
    ("Vamp", {"levels": 2}),
    ("WeightedDepthPrice", {"levels": 2, "strict": True}),
    ("BookSlope", {"levels": 2, "side": "ask"}),
    ("BookSlope", {"levels": 4}),
    ("Vpin", {"bucket_volume": 2.5, "buckets": 3, "split": False, "ranked": 7}),
    ("VpinFixed", {"bucket_volume": 25, "buckets": 3}),
    ("VpinBvc", {"bucket_volume": 2.5, "buckets": 3, "sigma": 0.5, "distribution": "t025"}),
    ("VpinBvc", {"bucket_volume": 2.5, "buckets": 3, "decay": 0.9}),
    ("TradeFlowImbalance", {"horizon_ns": 3}),
    ("Cvd", {"strict": True}),
    ("KyleLambda", {"window": 9}),
    ("Amihud", {}),
    ("RealizedVariance", {"window": 5}),
    ("BipowerVariation", {"window": 5}),
    ("MedRv", {"window": 5}),
    ("MinRv", {}),
    ("EwmaVariance", {"decay": 0.9}),
    ("EwmaVariance", {"half_life_ns": 10}),
    ("DecayedSum", {"half_life_ns": 10}),
    ("RollSpread", {"window": 5}),
    ("TickRule", {}),
    ("BvcShare", {"sigma": 0.5}),
    ("QuoteRule", {}),
    ("LeeReady", {"strict": True}),
    ("Emo", {}),
    ("Clnv", {}),
    ("Hawkes", {"mu": 0.5, "alpha": 1.0, "beta": 2.0}),
    ("HawkesBivariate", {"mu": [0.5, 0.6], "alpha": ALPHA, "beta": 2.0}),
    ("HawkesBivariate", {"mu": [0.5, 0.6], "alpha": ALPHA, "beta": BETAS, "strict": True}),
]


@pytest.fixture(params=["native", "numpy"])
def m(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


def listed(value: object) -> object:
    return [listed(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("name", "given"), CASES)
def test_params_make_the_same_indicator_again(
    m: ModuleType, name: str, given: dict[str, object]
) -> None:
    made = getattr(m, name)(**given)
    params = made.params
    assert {key: params[key] for key in given} == {key: listed(x) for key, x in given.items()}
    again = type(made)(**params)
    assert again == made
    assert again.params == params
    assert type(made).from_state(made.state()).params == params


@pytest.mark.parametrize(("name", "given"), CASES)
def test_both_backends_say_the_same(name: str, given: dict[str, object]) -> None:
    native, twin = (getattr(load(each), name)(**given) for each in ("native", "numpy"))
    assert list(native.params.items()) == list(twin.params.items())
    assert repr(native) == repr(twin)


def test_repr_has_parameters_count_and_value(m: ModuleType) -> None:
    vpin = m.Vpin(1.0, 2)
    vpin.update(1.0, 2.0, 1)
    wanted = "bucket_volume=1.0, buckets=2, split=True, ranked=1000, strict=False"
    assert repr(vpin) == f"<Vpin({wanted}) count=1 value=1.0>"
