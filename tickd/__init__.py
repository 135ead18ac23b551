"""tickd: a market-data gateway and tick recorder."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
