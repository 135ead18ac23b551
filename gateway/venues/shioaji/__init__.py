"""Venue folder: the registry joins wire, hours, limits and the SDK's client."""
