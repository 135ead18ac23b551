"""A stand-in for Binance's order entry, spot or USD-M, on loopback."""
