"""Shioaji (Sinopac, Taiwan): stocks, odd lots, futures and options through the broker's SDK."""
