"""Answer where topics end and what groups have committed: ``python -m supervisor.inspector.ends --fd N``.

Started by the supervisor only, for ``run --until-end``. It remembers nothing: the questions come from the parent,
so that it may die and be started again at any time.
"""

import logging
import signal
import sys
import time
from typing import Any

from confluent_kafka import KafkaException

from supervisor.core.child_specs import EndsSpec
from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame
from supervisor.core.jsonable import to_json
from supervisor.kafka.ends import AT_ONCE, GroupOffsets, MissingTopicError
from supervisor.kafka.offsets import AskError
from supervisor.link import Link, take_spec
from supervisor.logs import set_up_logging
from supervisor.tether import die_with_parent

WAIT = 5.0


def main() -> ExitCode:
    """Read the spec, then answer until the parent is gone."""
    told = take_spec("supervisor.inspector.ends", EndsSpec)
    if told is None:
        return ExitCode.FAILURE
    link, spec, early = told
    set_up_logging(spec.log_format, spec.log_level, {"process": "ends"})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    if not die_with_parent(spec.parent_pid):
        return ExitCode.OK
    _serve(link, spec, early)
    return ExitCode.OK


def _serve(link: Link, spec: EndsSpec, frames: list[Frame]) -> None:
    groups = {group.name: group for group in spec.groups}
    clients: dict[str, GroupOffsets] = {}
    while not link.lost:
        for frame in frames:
            name = str(frame["group"])
            try:
                client = clients[name] = clients.get(name) or GroupOffsets(groups[name])
                _answer(link, client, frame)
            except AskError as error:
                link.send("trouble", group=name, code=str(error))
            except KafkaException as error:
                link.send("missing", group=name, text=f"librdkafka refuses the settings: {error.args[0].name()}")
            except MissingTopicError as error:
                link.send("missing", group=name, text=str(error))
        frames = link.wait(time.monotonic() + WAIT)
    for client in clients.values():
        client.close()


def _answer(link: Link, client: GroupOffsets, frame: dict[str, Any]) -> None:
    name = frame["group"]
    match frame["type"]:
        case "goals":
            goals = client.goals(of_copies=bool(frame.get("of_copies")))
            for at in range(0, max(1, len(goals)), AT_ONCE):
                some = goals[at : at + AT_ONCE]
                link.send("goals", group=name, goals=to_json(some), more=at + AT_ONCE < len(goals))
                link.flush_until(time.monotonic() + WAIT)
        case "committed":
            places = [(str(topic), int(partition)) for topic, partition in frame["places"]]
            found = client.committed(places)
            rows = [[topic, partition, offset] for (topic, partition), offset in found.items()]
            link.send("committed", group=name, offsets=rows)
            link.flush_until(time.monotonic() + WAIT)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.exit(code)
