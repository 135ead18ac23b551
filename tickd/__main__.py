"""The `tickd` command, `python -m tickd` too: what must stand before anything else is imported.

A kill signal's default is to end the process. Whoever is going to run a daemon has it wait from
here on, until the handler stands, so that none is lost while the imports take their second.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Be the `tickd` process."""
    command = sys.argv[1:2]
    if sys.platform == "win32":
        pass  # has no such signal
    elif command == ["run"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    elif command == ["panic"]:
        # It cancels already; a kill to the whole control group is not for it.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    elif command == ["status"]:
        from tickd.app.quick_status import leave, quick_status  # noqa: PLC0415 - as light as can be

        if quick_status(sys.argv[2:]):
            leave()
    from tickd.app.cli import process  # noqa: PLC0415 - see above

    process()


if __name__ == "__main__":
    main()
