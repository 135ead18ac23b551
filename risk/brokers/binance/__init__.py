"""Binance, spot and USD-M: one account behind the port of a broker."""
