"""A record's headers, also those with a name that the Kafka client cannot read: no UTF-8. Pure."""

import gc
from collections.abc import Sequence
from typing import Any, Protocol

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""Stands for a name that is no UTF-8: what its bytes were the client does not tell."""


class Bearer(Protocol):
    """What headers are read from: confluent-kafka's ``Message``, or what stands for one."""

    def headers(self) -> Any:  # noqa: ANN401 - the client's own
        """Return name and value of each, ``None`` for none."""
        ...


def headers_of(message: Bearer) -> Sequence[tuple[str, bytes | None]]:
    """Return the headers in their order; a name that is no UTF-8 is ``UNREADABLE``."""
    try:
        return message.headers() or ()
    except (SystemError, UnicodeDecodeError):
        # Asked again, the client answers with tuples that hold nothing at all in the place of such a name: who takes
        # one apart ends the process. So it is given whole ones, before anybody else asks.
        whole = [_whole(pair) for pair in message.headers() or ()]
        client: Any = message  # nobody else raises so
        client.set_headers(whole)
        return whole


def _whole(pair: Any) -> tuple[str, bytes | None]:  # noqa: ANN401 - a tuple that may be broken
    if len(gc.get_referents(pair)) == len(pair):
        name, value = pair
        return str(name), value
    return UNREADABLE, pair[1]
