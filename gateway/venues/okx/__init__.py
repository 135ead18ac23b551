"""Venue folder: the registry joins wire, sync and limits."""
