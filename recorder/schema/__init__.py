"""What stands in ClickHouse: tables, bars, tiers, and the slow tables' rows."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
