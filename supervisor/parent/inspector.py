"""The inspector child: it asks brokers how far all groups are, for the parent holds no Kafka client (P5)."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from supervisor.core.child_specs import InspectorSpec
from supervisor.core.events import Severity
from supervisor.core.frames import Frame, FrameError
from supervisor.core.jsonable import to_json
from supervisor.core.lag import GroupLag, GroupMember, PartitionLag, slot_of, total
from supervisor.parent.processes.channel import Channel
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import STARTS, Keeper
from supervisor.parent.processes.launcher import Child, start_child
from supervisor.parent.store.eventlog import EventLog

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector.watch")
START_DELAY = 1.0
"""Seconds the workers' start has before ours."""
STOP = 1.0
SILENT = 120.0
"""Seconds without a word after which the child is taken for stuck; its own questions end long before."""
STALE = 30.0
"""Seconds after which a reading says nothing about now; more where readings come more rarely."""
MOST = 500

Listener = Callable[[str, GroupLag], None]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Group:
    """What is known of one group."""

    lag: GroupLag = field(default_factory=GroupLag)
    at: float | None = None
    rows: list[PartitionLag] = field(default_factory=list)
    told_missing: frozenset[str] = frozenset()
    trouble: str = ""


class Inspector:
    """Keeps one inspector child alive and what it last said; its absence only makes the lag unknown.

    Without a ``spec`` there is no child: nobody looks.
    ``listener`` is called in the loop with each new reading.
    """

    def __init__(
        self,
        spec: InspectorSpec | None,
        *,
        exits: ExitWatch,
        events: EventLog,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        self.listener: Listener = lambda _group, _lag: None
        self._loop = asyncio.get_running_loop()
        self._spec = spec
        self._events = events
        self._groups: dict[str, _Group] = {}
        self._heard_at = 0.0
        self._silence: asyncio.TimerHandle | None = None
        launch = partial(start_child, program)
        self._keeper = Keeper(launch, self._begin, self._tell_down, exits=exits, backoff=STARTS)
        self._keeper.on_exit = lambda _status: self._stop_checking()

    @property
    def child(self) -> Child | None:
        """The process, while there is one."""
        return self._keeper.child

    def start(self) -> None:
        """Start the child when the workers had time to begin; when that fails, later."""
        if self._spec is not None:
            self._keeper.start_later(START_DELAY)

    def replan(self, spec: InspectorSpec | None) -> None:
        """Look at other groups, or in another way, from now on: by a new child."""
        had, self._spec = self._spec, spec
        self._groups = {name: group for name, group in self._groups.items() if name in self._names()}
        if spec is None:
            self._keeper.rest()
        elif self.child is not None:
            self._keeper.replace()
        elif had is None:
            self.start()

    def lag(self, group: str) -> GroupLag | None:
        """Return what is known of a group now, ``None`` when nobody looks.

        A reading that is too old is told by its age only.
        """
        if self._spec is None:
            return None
        known = self._groups.get(group)
        if known is None or known.at is None:
            return GroupLag(trouble=self._why(known))
        age = self._loop.time() - known.at
        if age > max(STALE, 3 * self._spec.interval):
            return GroupLag(age=round(age, 1), trouble=self._why(known))
        return replace(known.lag, age=round(age, 1), trouble=known.trouble)

    async def stop(self) -> None:
        """End the child; at most ``2 * STOP`` and a little."""
        self._keeper.retire()
        self._stop_checking()
        if self._keeper.line is not None:
            self._keeper.line.send("stop")
        await self._keeper.gone(STOP)
        self._keeper.kill()
        await self._keeper.gone(STOP)

    def _names(self) -> set[str]:
        return {group.name for group in self._spec.groups} if self._spec else set()

    def _why(self, known: _Group | None) -> str:
        if known is not None and known.trouble:
            return known.trouble
        return "not read yet" if self.child is not None or not self._keeper.failures else "the inspector does not run"

    def _check(self) -> None:
        """End a child that says nothing any more."""
        if self.child is None:
            return
        quiet = self._loop.time() - self._heard_at
        patience = SILENT + (self._spec.interval if self._spec else 0.0)
        if quiet >= patience:
            self._keeper.kill()
        else:
            self._silence = self._loop.call_later(patience - quiet, self._check)

    def _stop_checking(self) -> None:
        if self._silence is not None:
            self._silence.cancel()

    def _begin(self, connection: socket.socket) -> Channel:
        self._heard_at = self._loop.time()
        self._check()
        channel = Channel(connection, self._on_frame, name="inspector")
        try:
            if self._spec is not None:
                channel.send("spec", spec=to_json(replace(self._spec, parent_pid=os.getpid())))
        except FrameError as error:
            logger.warning("inspector.spec_too_large", extra={"fields": {"error": str(error)}})
            channel.close()
        return channel

    def _on_frame(self, frame: Frame) -> None:
        self._heard_at = self._loop.time()
        if frame["type"] == "ready":
            self._keeper.ready()
            return
        try:
            self._hear(frame)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            fields = {"from": "inspector", "kind": frame["type"], "error": str(error)}
            logger.warning("parent.frame_refused", extra={"fields": fields})

    def _hear(self, frame: Frame) -> None:
        name = str(frame["group"])
        if name not in self._names():
            return
        group = self._groups.setdefault(name, _Group())
        match frame["type"]:
            case "lag_begins":
                group.rows = []
            case "lag":
                topic, owners = str(frame["topic"]), frame["owners"]
                group.rows += [
                    PartitionLag(topic, int(part), int(done), int(end), lag, owners[owner])
                    for part, done, end, lag, owner in frame["rows"]
                ]
            case "lag_ends" if len(group.rows) == frame["count"]:
                self._take(name, group, frame)
            case "trouble":
                group.trouble = str(frame["text"])[:MOST]

    def _take(self, name: str, group: _Group, frame: Frame) -> None:
        members = None
        if frame["members"] is not None:
            members = tuple(self._member(name, *one) for one in frame["members"])
        rows, group.rows = tuple(group.rows), []
        group.trouble = ""
        # When the broker was asked, not when we heard of it.
        group.at = self._loop.time() - float(frame["took"])
        group.lag = GroupLag(
            total=total(rows),
            age=0.0,
            partitions=rows,
            members=members,
            missing=tuple(map(str, frame["missing"])),
            denied=tuple(map(str, frame["denied"])),
        )
        self._tell_missing(name, group)
        self.listener(name, group.lag)

    def _member(self, group: str, client_id: str, host: str, partitions: int) -> GroupMember:
        slot = slot_of(str(client_id), group)
        is_ours = slot is not None and self._spec is not None and slot[0] == self._spec.supervisor
        return GroupMember(str(client_id), str(host).lstrip("/"), int(partitions), is_ours=is_ours)

    def _tell_missing(self, name: str, group: _Group) -> None:
        """Tell once that a topic is missing or may not be seen, and once that it is there."""
        missing = frozenset((*group.lag.missing, *group.lag.denied))
        for topic in sorted(missing - group.told_missing):
            why = "does not exist" if topic in group.lag.missing else "may not be looked at: no right to DESCRIBE it"
            text = f"topic {topic} {why}"
            self._events.tell("topic.missing", Severity.WARNING, text, group=name, fields={"topic": topic})
        for topic in sorted(group.told_missing - missing):
            self._events.tell("topic.found", Severity.INFO, group=name, fields={"topic": topic})
        group.told_missing = missing

    def _tell_down(self, text: str, delay: float) -> None:
        self._events.tell(
            "inspector.exited",
            Severity.WARNING,
            f"{text}; starts again; until then lag is unknown",
            fields={"delay": round(delay, 3)},
        )
