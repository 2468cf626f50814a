"""Look at the lag of all groups for as long as the supervisor lives: ``python -m supervisor.inspector.watch --fd N``.

Started by the supervisor only. Nothing here is needed for work: it may die and be started again at any time.
A thread for each cluster (each way to reach one): one that does not answer keeps nobody else waiting.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from itertools import groupby

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from supervisor.core.child_specs import InspectorSpec
from supervisor.core.exits import ExitCode
from supervisor.core.lag import PartitionLag
from supervisor.core.spec import GroupSpec
from supervisor.kafka.lag import GroupReader, Reading
from supervisor.kafka.offsets import AskError
from supervisor.kafka.settings import asker_settings, client_settings
from supervisor.link import Link, take_spec
from supervisor.logs import set_up_logging
from supervisor.tether import die_with_parent

WAIT = 5.0
ROWS = 1000
"""Partitions per frame; owners stand in it once each, so that it stays well below what waits for the parent."""
MOST_MEMBERS = 200
REST = 4.0
"""A look that took long is followed by so many times its length, so that slow brokers are not asked without end."""
MOST_REST = 30.0
"""Brokers that were away answer slowest of all, and are to be seen soon once they are back."""


def main() -> ExitCode:
    """Read the spec, then look until the parent is gone or says stop."""
    told = take_spec("supervisor.inspector.watch", InspectorSpec)
    if told is None:
        return ExitCode.FAILURE
    link, spec, _ = told
    set_up_logging(spec.log_format, spec.log_level, {"process": "inspector"})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    if not die_with_parent(spec.parent_pid):
        return ExitCode.OK
    teller = _Teller(link)
    for groups in _by_cluster(spec.groups):
        watcher = _Watcher(groups, spec.interval, teller)
        threading.Thread(target=watcher.run, name=f"watch-{groups[0].name}", daemon=True).start()
    link.send("ready")
    while not link.lost:
        if any(frame["type"] == "stop" for frame in link.wait(time.monotonic() + WAIT)):
            break
    return ExitCode.OK


def rest(interval: float, took: float) -> float:
    """Return the seconds between a look that ``took`` so long and the next one."""
    return max(interval, min(REST * took, MOST_REST))


class _Teller:
    """The way to the parent, for one thread at a time: the frames of one look stay together."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()

    def tell(self, group: GroupSpec, reading: Reading, *, took: float) -> None:
        """Send one look; the parent takes it when the last frame is there."""
        members = reading.members
        with self._lock:
            self._send("lag_begins", group=group.name)
            for topic, rows in groupby(reading.partitions, key=lambda one: one.topic):
                every = list(rows)
                for at in range(0, len(every), ROWS):
                    self._rows(group.name, topic, every[at : at + ROWS])
            self._send(
                "lag_ends",
                group=group.name,
                count=len(reading.partitions),
                took=round(took, 3),
                missing=list(reading.topics.missing),
                denied=list(reading.topics.denied),
                members=None
                if members is None
                else [[one.client_id, one.host, len(one.places)] for one in members[:MOST_MEMBERS]],
            )

    def trouble(self, group: str, text: str) -> None:
        """Say why there is no look at a group."""
        with self._lock:
            self._send("trouble", group=group, text=text)

    def _rows(self, group: str, topic: str, some: Sequence[PartitionLag]) -> None:
        owners = list(dict.fromkeys(one.owner for one in some))
        rows = [[one.partition, one.committed, one.end, one.lag, owners.index(one.owner)] for one in some]
        self._send("lag", group=group, topic=topic, owners=owners, rows=rows)

    def _send(self, kind: str, **members: object) -> None:
        self._link.send(kind, **members)
        self._link.flush_until(time.monotonic() + WAIT)


class _Watcher:
    """The groups of one cluster, one after the other, in a thread of its own."""

    def __init__(self, groups: Sequence[GroupSpec], interval: float, teller: _Teller) -> None:
        self._groups = groups
        self._interval = interval
        self._teller = teller
        self._readers: dict[str, GroupReader] = {}
        self._admin: AdminClient | None = None

    def run(self) -> None:
        """Look at each group, rest, and again; for ever."""
        while True:
            began = time.monotonic()
            for group in self._groups:
                self._look(group)
            time.sleep(rest(self._interval, time.monotonic() - began))

    def _look(self, group: GroupSpec) -> None:
        began = time.monotonic()
        try:
            if self._admin is None:
                self._admin = AdminClient(asker_settings(group.kafka, client_id="supervisor-inspector"))
            reader = self._readers[group.name] = self._readers.get(group.name) or GroupReader(group)
            self._teller.tell(group, reader.read(self._admin), took=time.monotonic() - began)
        except AskError as error:
            self._teller.trouble(group.name, str(error))
        except KafkaException as error:
            self._teller.trouble(group.name, f"librdkafka refuses the settings: {error.args[0].name()}")


def _by_cluster(groups: Sequence[GroupSpec]) -> list[list[GroupSpec]]:
    found: dict[str, list[GroupSpec]] = {}
    for group in groups:
        shared = client_settings(group.kafka, client_id="")
        found.setdefault(repr(sorted(shared.items())), []).append(group)
    return list(found.values())


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: a thread may be in a question to a broker that does not answer.
    sys.stdout.flush()
    os._exit(code)
