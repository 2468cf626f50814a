"""The accused records of a supervisor's groups, and what becomes of them. Pure; times come in.

Only deaths while named or alone count. At ``max_deaths`` of them a record is convicted: it becomes a dead letter
without another run, and is buried once that is confirmed.
"""

from collections.abc import Iterable
from dataclasses import replace

from supervisor.core.accusations import Accusation
from supervisor.core.cases import Case, Evidence, Place, Record

MOST = 50_000
"""Accused records of one group; beyond them nobody is suspected any more, the named are counted all the same."""
SUSPECTED_FOR = 7 * 86400.0
CONVICTED_FOR = 90 * 86400.0
"""Seconds that a case is kept after its last death, a conviction after a worker asked for it, too. Nobody hears of the
commits of topics that are gone, or of partitions that another host works now."""

Key = tuple[str, str, int]
"""Group, topic, partition."""


Change = tuple[Key, int, Case | None]
"""A case as it is now, by partition and offset; ``None``: there is none any more."""


class Docket:
    """All cases. Every method that changes some returns the changes, for whoever keeps them."""

    def __init__(self) -> None:
        self._cases: dict[Key, dict[int, Case]] = {}
        self._asked_at: dict[Key, float] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody is accused."""
        return not self._cases

    def restore(self, key: Key, offset: int, case: Case) -> None:
        """Take back what was kept."""
        self._cases.setdefault(key, {})[offset] = case

    def of(self, group: str, place: Place) -> dict[int, Case]:
        """Return a partition's cases by offset."""
        return self._cases.get((group, *place), {})

    def asked(self, group: str, place: Place, *, now: float) -> dict[int, Case]:
        """Return what a worker is told that has the partition now; ``now`` is wall time."""
        cases = self.of(group, place)
        if cases:
            self._asked_at[group, *place] = now
        return cases

    def accused(self, group: str, records: Iterable[Record]) -> set[Record]:
        """Return which of these records are accused."""
        return {record for record in records if record[2] in self.of(group, record[:2])}

    def count(self, group: str) -> tuple[int, int]:
        """Return how many records of a group are suspected or counted against, and how many are convicted."""
        cases = [case for key, of_key in self._cases.items() if key[0] == group for case in of_key.values()]
        convicted = sum(case.convicted for case in cases)
        return len(cases) - convicted, convicted

    def accuse(
        self, group: str, accusation: Accusation, evidence: Evidence, *, max_deaths: int, now: float
    ) -> list[Change]:
        """Enter what a death said; ``now`` is wall time."""
        if accusation.named is not None:
            topic, partition, offset = accusation.named
            case = self.of(group, (topic, partition)).get(offset, Case(first_at=now))
            deaths = case.deaths + 1
            case = replace(
                case,
                deaths=deaths,
                cause=accusation.cause,
                convicted=case.convicted or deaths >= max_deaths,
                last_at=now,
                evidence=evidence,
            )
            return [self._put((group, topic, partition), offset, case)]
        changes: list[Change] = []
        room = MOST - sum(self.count(group))
        for topic, partition, first, last in accusation.suspects:
            key, known = (group, topic, partition), self.of(group, (topic, partition))
            fresh = [offset for offset in range(first, last + 1) if offset not in known][: max(0, room - len(changes))]
            changes += [self._put(key, offset, Case(first_at=now, last_at=now)) for offset in fresh]
        return changes

    def acquit(self, group: str, records: Iterable[Record]) -> list[tuple[Change, Case]]:
        """Forget records that finished; with each change comes what the case was."""
        return [
            (self._drop((group, topic, partition), offset), case)
            for topic, partition, offset in records
            if (case := self.of(group, (topic, partition)).get(offset)) is not None and not case.convicted
        ]

    def bury(self, group: str, records: Iterable[Record]) -> list[Change]:
        """Note that the dead letters of convicted records are confirmed."""
        return [
            self._put((group, topic, partition), offset, replace(case, buried=True))
            for topic, partition, offset in records
            if (case := self.of(group, (topic, partition)).get(offset)) is not None and case.convicted
        ]

    def committed(self, group: str, place: Place, offset: int) -> list[Change]:
        """Forget what is below a committed offset."""
        key = (group, *place)
        return [self._drop(key, one) for one in list(self._cases.get(key, ())) if one < offset]

    def aged(self, *, now: float) -> list[Change]:
        """Forget cases that are too old to be of anybody's concern; ``now`` is wall time."""
        changes: list[Change] = []
        for key, cases in list(self._cases.items()):
            asked_at = self._asked_at.get(key, 0.0)
            for offset, case in list(cases.items()):
                until = max(case.last_at, asked_at) + CONVICTED_FOR if case.convicted else case.last_at + SUSPECTED_FOR
                if until < now:
                    changes.append(self._drop(key, offset))
        return changes

    def identify(self, group: str, topic: str, topic_id: str) -> list[Change]:
        """Say which topic is meant now by a name: cases of another are forgotten, those of none are its own."""
        changes: list[Change] = []
        for key in [key for key in self._cases if key[:2] == (group, topic)]:
            for offset, case in list(self._cases[key].items()):
                if not case.topic_id:
                    changes.append(self._put(key, offset, replace(case, topic_id=topic_id)))
                elif case.topic_id != topic_id:
                    changes.append(self._drop(key, offset))
        return changes

    def _put(self, key: Key, offset: int, case: Case) -> Change:
        self._cases.setdefault(key, {})[offset] = case
        return key, offset, case

    def _drop(self, key: Key, offset: int) -> Change:
        of_key = self._cases[key]
        del of_key[offset]
        if not of_key:
            del self._cases[key]
            self._asked_at.pop(key, None)
        return key, offset, None
