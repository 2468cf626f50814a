"""What a look at a cluster says of a group's retry topics; no I/O."""

from collections.abc import Mapping

from supervisor.core.retry_topics import retry_topics
from supervisor.core.spec import GroupSpec
from supervisor.inspector.findings import Finding, Level
from supervisor.inspector.remedies import allow, create_topic
from supervisor.kafka.admin import TopicState


def check_retry_topics(
    spec: GroupSpec, states: Mapping[str, TopicState], *, may_create: bool | None = None
) -> list[Finding]:
    """Say which retry topics workers will make, and which they could not make, read or write.

    ``may_create``: whether this user may make any topic, ``None`` when it is not known.
    """
    found, good, to_make = [], [], []
    for name, topic in retry_topics(spec).items():
        state, source = states[name], states.get(topic.source)
        partitions = source.partitions if source is not None else 0
        operations = state.operations
        if state.error:
            help_ = f"where it exists, allow it: {allow(spec, 'Read', topic=name)}"
            found.append(
                Finding(Level.ERROR, spec.name, f"retry topic {name!r} cannot be looked at: {state.error}", help_)
            )
        elif not state.exists and may_create is False:
            text = f"retry topic {name!r} does not exist, and this user may not make just any topic"
            help_ = f"{create_topic(spec, name, partitions or 1)}, or: {allow(spec, 'Create', topic=name)}"
            found.append(Finding(Level.WARNING, spec.name, text, help_))
        elif not state.exists:
            to_make.append(name)
        elif operations is not None and not {"READ", "WRITE"} <= operations:
            right = "READ" if "READ" not in operations else "WRITE"
            text = f"no right to {right} retry topic {name!r}: a record that fails would wait for it"
            found.append(Finding(Level.ERROR, spec.name, text, allow(spec, right.title(), topic=name)))
        else:
            good.append(name)
    if good:
        found.append(Finding(Level.OK, spec.name, f"may use the retry topics {', '.join(good)}"))
    if to_make:
        found.append(Finding(Level.OK, spec.name, f"workers will make the retry topics {', '.join(to_make)}"))
    return found
