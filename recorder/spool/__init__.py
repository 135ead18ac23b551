"""Blocks on the disk: those that wait, and those that were refused."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
