"""ClickHouse over HTTP: blocks and questions out, answers and errors back."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
