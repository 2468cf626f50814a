"""librdkafka's own log lines, through ours: an unreachable broker would write twenty a second."""

import logging
import time

LOGGER = "librdkafka"
BURST = 3
WINDOW = 30.0


class Quieter(logging.Filter):
    """Let ``BURST`` lines of a kind through per ``WINDOW`` seconds; the next one after says how many were left out.

    A kind is a level and librdkafka's own word for the place (``FAIL``, ``GETSUBSCRIPTIONS`` ...), the first
    of the line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide over one line; librdkafka's threads hand them over one at a time."""
        kind = (record.levelno, record.getMessage().split(" ", 1)[0])
        now = time.monotonic()
        began, count = self._windows.get(kind, (now, 0))
        if now - began >= WINDOW:
            if count > BURST:
                record.fields = {"left_out": count - BURST}
            began, count = now, 0
        self._windows[kind] = (began, count + 1)
        return count < BURST


def client_logger() -> logging.Logger:
    """Return the logger to give to a client; its lines come out while the client is polled."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(one, Quieter) for one in logger.filters):
        logger.addFilter(Quieter())
    return logger
