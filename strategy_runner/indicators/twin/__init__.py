"""The indicators again in plain Python: the fallback, and what the native ones are judged by."""

__all__: list[str] = []
