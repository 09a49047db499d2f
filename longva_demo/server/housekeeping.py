"""What is done every minute, whether anybody calls or not: a quiet server frees what its visitors left, too."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)
SECONDS_BETWEEN = 60.0


def start_housekeeping(*tasks: Callable[[], None]) -> threading.Event:
    """Run `tasks` again and again, in a thread that ends with the process, or once the event returned is set."""
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(SECONDS_BETWEEN):
            for task in tasks:
                try:
                    task()
                except Exception:  # the next round may work
                    log.exception("tidying up failed")

    threading.Thread(target=run, name="upkeep", daemon=True).start()
    return ending
