"""Shipping: sealed segments to object storage, retention of what is there, and the way back."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
