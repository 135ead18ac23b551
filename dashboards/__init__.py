"""Grafana dashboards as code: one file per dashboard, their words in `vocabulary.py`."""
