"""A handler that does nothing, in a worker that measures nothing: importing it takes all meters out."""

from supervisor.core.histogram import Tally
from supervisor.plugin import Record
from supervisor.worker.meters import Meters


def _nothing(*_: object, **__: object) -> None:
    """Stand where something was counted."""


for _name in ("took", "ran", "was_stolen", "rebalanced", "lettered"):
    setattr(Meters, _name, _nothing)
Tally.note = _nothing  # type: ignore[method-assign]


def process(_record: Record) -> None:
    """Do nothing."""
