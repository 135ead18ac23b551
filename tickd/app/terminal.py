"""Where tables are printed: a terminal's own width, and room enough where nobody's terminal is.

It prints nothing itself.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console

# Piped into a file, a pager or a ticket, a table is not cut to the 80 columns of no terminal.
PIPED_COLUMNS: Final = 160


def console() -> Console:
    """Return the console of standard output."""
    made = Console()
    return made if made.is_terminal else Console(width=PIPED_COLUMNS)
