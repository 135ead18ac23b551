"""Filling gaps: what is missing is asked for again, in the background (ADR 24)."""

__all__: list[str] = []
