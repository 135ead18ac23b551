"""The raw log and the disk under it: opened, watched, read again."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
