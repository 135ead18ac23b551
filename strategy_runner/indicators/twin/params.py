"""What a twin was made with, read back from its state, under the constructor's names.

The native side is native/core/src/indicators/params.rs. It makes and changes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_LAST, _HORIZON, _FADING = 1, 2, 3
Own = dict[str, Any]  # the fields of any twin


def _limit(own: Own, mode: int) -> int | None:
    rows = own["window"]
    return rows.limit if rows.mode == mode else None


def _window(own: Own) -> int | None:
    limit = _limit(own, _LAST)
    reach = {0: 1, 1: 2, 2: 3, 3: 2}[own.get("estimator", 0)]
    return None if limit is None else limit + reach - 1


def _half_life(own: Own) -> int | None:
    return own["half_life_ns"] or None if "half_life_ns" in own else _limit(own, _FADING)


def _decay(own: Own) -> float | None:
    if "bulk" in own:
        return own["bulk"].decay  # type: ignore[no-any-return]
    return own["keep"] or None


def _rows(cells: list[float], width: int) -> list[list[float]]:
    return [list(cells[i : i + width]) for i in range(0, len(cells), width)]


def _mu(own: Own) -> object:
    return list(own["mu"]) if isinstance(own["mu"], list) else own["mu"]


def _alpha(own: Own) -> object:
    return _rows(own["alpha"], 2) if isinstance(own["alpha"], list) else own["alpha"]


def _beta(own: Own) -> object:
    beta = own["beta"]
    if not isinstance(beta, list):
        return beta
    return beta[0] if own["is_common"] else _rows(beta, 2)


_READ: dict[str, Callable[[Own], object]] = {
    "window": _window,
    "horizon_ns": lambda own: _limit(own, _HORIZON),
    "half_life_ns": _half_life,
    "missing": lambda own: "empty" if own["missing_is_empty"] else "unknown",
    "strict": lambda own: own["strict"],
    "skip_crossed": lambda own: own["skip_crossed"],
    "table": lambda own: _rows(own["table"], own["buckets"]),
    "tick": lambda own: own["tick"],
    "levels": lambda own: own["levels"],
    "weights": lambda own: list(own["weights"]),
    "side": lambda own: {3: "both", 4: "bid", 5: "ask"}[own["shape"]],
    "bucket_volume": lambda own: own["open"].volume,
    "buckets": lambda own: len(own["open"].imbalances.places),
    "split": lambda own: own["open"].split,
    "ranked": lambda own: len(own["open"].history.values.places),
    "sigma": lambda own: own["bulk"].sigma or None,
    "distribution": lambda own: "t025" if own["bulk"].is_student else "normal",
    "decay": _decay,
    "mu": _mu,
    "alpha": _alpha,
    "beta": _beta,
}


def params_of(indicator: object) -> dict[str, object]:
    """Names and values in the order of the constructor."""
    own = vars(indicator)
    return {name: _READ[name](own) for name in inspect.signature(type(indicator)).parameters}
