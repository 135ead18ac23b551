"""`python -m tickd` is the `tickd` command."""

from tickd.app.cli import process

process()
