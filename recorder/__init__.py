"""Stage recorder of tickd."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
