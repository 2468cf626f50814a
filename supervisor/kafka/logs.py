"""librdkafka's own log lines, through ours, by constant names: an unreachable broker would write twenty a second."""

import logging
import time

LOGGER = "librdkafka"
BURST = 3
WINDOW = 30.0


class Quieter(logging.Filter):
    """Let ``BURST`` lines of a kind through per ``WINDOW`` seconds; the next one after says how many were left out.

    A kind is a level and librdkafka's own word for the place (``FAIL``, ``GETSUBSCRIPTIONS`` ...), the first
    of the line. It becomes the line's event (``librdkafka.fail``), the rest its field ``text``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide over one line; librdkafka's threads hand them over one at a time."""
        word, _, text = record.getMessage().partition(" ")
        kind = (record.levelno, word)
        now = time.monotonic()
        began, count = self._windows.get(kind, (now, 0))
        fields: dict[str, str | int] = {"text": text}
        record.msg, record.args, record.fields = f"{LOGGER}.{word.lower()}", (), fields
        if now - began >= WINDOW:
            if count > BURST:
                fields["left_out"] = count - BURST
            began, count = now, 0
        self._windows[kind] = (began, count + 1)
        return count < BURST


def client_logger() -> logging.Logger:
    """Return the logger to give to a client; its lines come out while the client is polled."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(one, Quieter) for one in logger.filters):
        logger.addFilter(Quieter())
    return logger
