"""Which slots read nothing by an operator's word, or a retry policy's: the last word counts, for what it names. Pure.

A word of a group is one of all its slots, those that come later, too, and takes back what was said of single ones.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paused:
    """``groups`` are paused as a whole; slots in ``apart`` are not as their group is."""

    groups: frozenset[str] = frozenset()
    apart: frozenset[tuple[str, int]] = frozenset()

    def holds(self, group: str, slot: int) -> bool:
        """Tell whether a slot is paused, whether it is there already or not."""
        return (group in self.groups) is not ((group, slot) in self.apart)

    def of_group(self, group: str, *, on: bool) -> "Paused":
        """Return what is paused once a whole group is, or goes on."""
        return Paused(self.groups | {group} if on else self.groups - {group}, self._but(group))

    def of_slot(self, group: str, slot: int, *, on: bool) -> "Paused":
        """Return what is paused once one slot is, or goes on; its group's others stay what they are."""
        if self.holds(group, slot) is on:
            return self
        return Paused(self.groups, self.apart ^ {(group, slot)})

    def without(self, group: str, slot: int) -> "Paused":
        """Return what is paused when a slot is no more: one of its number that comes later is as its group is."""
        return Paused(self.groups, self.apart - {(group, slot)})

    def keep(self, groups: Collection[str]) -> "Paused":
        """Forget all other groups."""
        return Paused(self.groups & frozenset(groups), frozenset(one for one in self.apart if one[0] in groups))

    def _but(self, group: str) -> frozenset[tuple[str, int]]:
        return frozenset(one for one in self.apart if one[0] != group)
