"""Rows of what gate, router and brokers did, from the raw log's control records."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
