"""Sinks beside the built-in ClickHouse sink: one folder each, one line each in the registry."""
