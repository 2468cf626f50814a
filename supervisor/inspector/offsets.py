"""Show or set a group's committed offsets: ``python -m supervisor.inspector offsets``."""

from typing import Any

from confluent_kafka import KafkaException

from supervisor.core.jsonable import from_json, to_json
from supervisor.core.resets import LIVE, Applied, OffsetMove, OffsetsAnswer, ResetError, names
from supervisor.core.spec import GroupSpec
from supervisor.kafka.admin import AdminError
from supervisor.kafka.offsets import AskError
from supervisor.kafka.resets import Offsets
from supervisor.tether import die_with_parent


def inspect_offsets(request: dict[str, Any]) -> dict[str, Any]:
    """Return an ``OffsetsAnswer``.

    ``request``: ``group`` (a ``GroupSpec``), ``to`` (see ``core.resets``, or null), ``partitions`` (names; none: all),
    ``apply``, ``patience``: how many seconds to wait for the last member to be gone, and ``parent_pid``: who alone
    may have anything set.
    """
    if not die_with_parent(int(request["parent_pid"])):
        return _answer(error="whoever asked is gone")
    spec = from_json(GroupSpec, request["group"])
    moves: tuple[OffsetMove, ...] = ()
    try:
        offsets = Offsets(spec)
    except KafkaException as error:
        return _answer(error=f"librdkafka refuses the settings: {error.args[0].name()}")
    try:
        moves = offsets.moves(request["to"], request["partitions"])
        if not request["apply"]:
            return _answer(moves, members=offsets.members())
        applied = offsets.apply(moves, float(request["patience"]))
        if applied.error:
            return _failed(spec, offsets, moves, applied)
        touched = [move.name for move in moves]
        return _answer(offsets.moves(None, touched) if touched else ())
    except (AskError, AdminError) as error:
        return _answer(moves, error=f"the brokers did not answer: {error}")
    except ResetError as error:
        return _answer(moves, error=str(error))
    finally:
        offsets.close()


def _failed(spec: GroupSpec, offsets: Offsets, moves: tuple[OffsetMove, ...], applied: Applied) -> dict[str, Any]:
    """Say why not all was set, and exactly which partitions were."""
    if applied.error in LIVE:
        who = ", ".join(offsets.members()) or "members that just went"
        why = f"group {spec.name} still has members: {who}"
    else:
        why = f"group {spec.name}: {applied.error}"
    if not applied.changed and not applied.unsure:
        return _answer(moves, error=f"nothing was changed: {why}")
    return _answer(moves, error=f"not all was changed: {why}; {applied.text}", changed=names(applied.changed))


def _answer(
    moves: tuple[OffsetMove, ...] = (), *, members: tuple[str, ...] = (), error: str = "", changed: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = to_json(OffsetsAnswer(moves, members, error, changed))
    return found
