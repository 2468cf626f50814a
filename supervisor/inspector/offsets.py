"""Show or set a group's committed offsets: ``python -m supervisor.inspector offsets``."""

from typing import Any

from confluent_kafka import KafkaException

from supervisor.core.jsonable import from_json, to_json
from supervisor.core.resets import OffsetMove, OffsetsAnswer, ResetError
from supervisor.core.spec import GroupSpec
from supervisor.kafka.admin import AdminError
from supervisor.kafka.offsets import AskError
from supervisor.kafka.resets import NotEmptyError, Offsets
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
        try:
            offsets.apply(moves, float(request["patience"]))
        except NotEmptyError:
            who = ", ".join(offsets.members()) or "members that just went"
            return _answer(moves, error=f"nothing was changed: group {spec.name} still has members: {who}")
        names = [move.name for move in moves]
        return _answer(offsets.moves(None, names) if names else ())
    except (AskError, AdminError) as error:
        return _answer(moves, error=f"the brokers did not answer: {error}")
    except ResetError as error:
        return _answer(moves, error=str(error))
    finally:
        offsets.close()


def _answer(moves: tuple[OffsetMove, ...] = (), *, members: tuple[str, ...] = (), error: str = "") -> dict[str, Any]:
    found: dict[str, Any] = to_json(OffsetsAnswer(moves, members, error))
    return found
