"""Servers that speak a venue's own protocol on loopback: recorded captures, a simulated market."""
