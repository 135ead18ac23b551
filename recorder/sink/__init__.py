"""From batches to acknowledged blocks: cut, promised, delivered."""

__all__ = ["__tickd_stage__"]

__tickd_stage__ = True
