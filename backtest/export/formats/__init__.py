"""One file per format, one line per format in `registry.py`."""

__all__: list[str] = []
