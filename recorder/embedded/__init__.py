"""The embedded ClickHouse: chdb in a child process, behind the ClickHouse HTTP interface."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
