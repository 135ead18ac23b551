"""Recorded rows as files that other tools read."""

__all__: list[str] = []
