"""The `tickd` command, `python -m tickd` too: what must stand before anything else is imported.

The default of USR1, USR2 and HUP is to end the process. Whoever is going to run a daemon has them
wait from here on, until their handlers stand: none is lost, and none ends a start or a recovery.
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
        waiting = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
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
