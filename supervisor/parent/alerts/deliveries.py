"""What became of alerts, plugin by plugin, as notifiers count it; counters go on when one is followed by another."""

from collections.abc import Mapping
from types import MappingProxyType

MOST_PLUGINS = 100
OUTCOMES = ("delivered", "failed", "dropped")
_LONGEST = 100


class Deliveries:
    """In the parent's loop, one per supervisor."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._queued: dict[str, int] = {}

    def begin(self) -> None:
        """Take it that another notifier counts from zero."""
        self._last.clear()
        self._queued.clear()

    def told(self, stats: Mapping[str, Mapping[str, int]]) -> None:
        """Add what a notifier counted since it last told; raises ``TypeError`` or others for what are no counts."""
        plugins = {str(name)[:_LONGEST]: dict(counts) for name, counts in list(stats.items())[:MOST_PLUGINS]}
        now = {(name, kind): int(counts[kind]) for name, counts in plugins.items() for kind in OUTCOMES}
        queued = {name: int(counts["queued"]) for name, counts in plugins.items()}
        self._totals = {key: self._totals.get(key, 0) + max(0, now[key] - self._last.get(key, 0)) for key in now}
        self._last, self._queued = now, queued

    def keep(self, *, any_plugin: bool) -> None:
        """Forget everything when nobody is told any more."""
        if not any_plugin:
            self._totals.clear()
            self.begin()

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many events, by plugin and outcome."""
        return MappingProxyType(dict(self._totals))

    @property
    def queued(self) -> Mapping[str, int]:
        """How many wait in the notifier, by plugin."""
        return MappingProxyType(dict(self._queued))
