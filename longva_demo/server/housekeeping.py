"""Tasks that run every minute, so that an idle server frees resources too."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)
PERIOD_SECONDS = 60.0


def start_housekeeping(*tasks: Callable[[], None]) -> threading.Event:
    """Run `tasks` every minute in a daemon thread, until the returned event is set."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(PERIOD_SECONDS):
            for task in tasks:
                try:
                    task()
                except Exception:  # the next run may succeed
                    log.exception("housekeeping failed")

    threading.Thread(target=run, name="housekeeping", daemon=True).start()
    return stop
