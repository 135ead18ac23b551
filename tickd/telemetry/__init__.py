"""What the daemon says about itself: metrics and logs, never per event."""

__all__: list[str] = []
