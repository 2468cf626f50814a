"""The HTTP listener for whoever wants one: without an address nothing of it is imported."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisor.core.exposition import Others
from supervisor.parent.running.duty import Duty
from supervisor.parent.supervisor import Supervisor

if TYPE_CHECKING:
    from supervisor.parent.metrics.listener import HttpListener

Address = tuple[str, int]


class Web:
    """Listens where it is told, once it is told; ``others``: what parts beside the slots add to the metrics."""

    def __init__(self, supervisor: Supervisor, duty: Duty, others: Callable[[], Others]) -> None:
        self._supervisor = supervisor
        self._duty = duty
        self._others = others
        self._address: Address | None = None
        self._listener: HttpListener | None = None

    def listen(self, address: Address | None) -> None:
        """Listen there and nowhere else from now on; returns at once, what cannot be is an event."""
        if address == self._address:
            return
        self._address = address
        if self._listener is None:
            from supervisor.parent.metrics.listener import HttpListener  # noqa: PLC0415 - 0.1 s that most starts need not pay
            from supervisor.parent.metrics.scraping import Scraping  # noqa: PLC0415 - the same

            scraping = Scraping(self._supervisor, self._supervisor.tallies, self._others)
            self._listener = HttpListener(self._supervisor, scraping, self._duty)
        self._listener.start(address)

    def pulse(self) -> None:
        """See ``HttpListener.pulse``."""
        if self._listener is not None:
            self._listener.pulse()

    async def stop(self) -> None:
        """Close, if there is anything to close."""
        if self._listener is not None:
            await self._listener.stop()
