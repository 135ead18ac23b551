"""Venues: one folder each, registered in one line of registry.py."""
