"""The `[risk]` tables of the configuration: limits, router, kill switch and triggers.

Frozen structs with defaults; relations are checked when they are made.
"""

from __future__ import annotations

import msgspec

from risk.limits import LimitsConfig, violations
from risk.router_config import RouterConfig

__all__ = ["RiskConfig", "TriggersConfig"]


class TriggersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What halts trading by itself. 0 switches a rule off.

    daily_loss_max: in units of 1e-8 of an account's currency.
    """

    daily_loss_max: int = 0
    rejects_max: int = 20
    rejects_window_s: float = 10.0
    lag_ms_max: int = 5_000
    lag_hold_ms: int = 2_000
    gap_ms_max: int = 30_000
    clock_jump_ms_max: int = 1_000
    undurable_ms_max: int = 5_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 0:
                raise ValueError(f"risk.triggers.{name} must not be negative")
        if self.rejects_max == 1 or (self.rejects_max and not self.rejects_window_s):
            raise ValueError("risk.triggers: a storm is 2 or more rejects within a positive time")


class RiskConfig(LimitsConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits, and the kill switch.

    cancel_at_stop: an end of the daemon takes back what is open. panic_after_ms: from a kill until
    `tickd panic` is run unless cancelling has begun. flatten: market orders bring every
    position to zero once everything is cancelled.
    """

    panic_after_ms: int = 500
    disk_wait_ms: int = 100
    arm_token_s: float = 60.0
    flatten: bool = False
    cancel_at_stop: bool = True
    router: RouterConfig = RouterConfig()
    triggers: TriggersConfig = TriggersConfig()

    def __post_init__(self) -> None:
        if found := violations(self):
            raise ValueError("; ".join(found))
        if not 1 <= self.panic_after_ms <= 60_000:
            raise ValueError("risk.panic_after_ms must be 1 to 60000")
        if not 0 <= self.disk_wait_ms <= self.panic_after_ms:
            raise ValueError("risk.disk_wait_ms must be 0 to panic_after_ms: cancelling waits")
        if self.arm_token_s <= 0:
            raise ValueError("risk.arm_token_s must be positive")

    @property
    def limits_only(self) -> LimitsConfig:
        """The part of it that the gate compiles, and that the hash on record is of."""
        return LimitsConfig(
            **{name: getattr(self, name) for name in LimitsConfig.__struct_fields__}
        )
