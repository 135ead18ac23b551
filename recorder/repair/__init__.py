"""ClickHouse made equal to the raw log again."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
