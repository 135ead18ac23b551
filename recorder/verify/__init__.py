"""The proof that raw log, manifest and ClickHouse agree."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
