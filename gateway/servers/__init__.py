"""Servers that speak a venue's own protocol on loopback: replayed captures and a simulated market."""
