"""What a worker does about each way a commit can fail.

Codes are Kafka's and librdkafka's names. The table is measured, one row per code, against injected errors;
librdkafka's own ``retriable()`` says no to every commit error and is of no use here.
"""

from enum import Enum, auto


class Answer(Enum):
    """What to do about one partition's failed commit."""

    KEEP = auto()
    """Nothing is lost: the offsets go with the next commit."""
    RETRY = auto()
    """Commit again after the next poll: the member's epoch has moved, its ownership has not."""
    DROP = auto()
    """Another member may own the partition: these offsets are not ours to commit any more."""
    FENCED = auto()
    """Another process runs under this static member id: end."""
    FATAL = auto()
    """The client is dead: end."""
    CONFIG = auto()
    """Not allowed: a person has to change something, a restart does not help."""


_ANSWERS = {
    "COORDINATOR_LOAD_IN_PROGRESS": Answer.KEEP,
    "NOT_COORDINATOR": Answer.KEEP,
    "NOT_COORDINATOR_FOR_GROUP": Answer.KEEP,
    "GROUP_LOAD_IN_PROGRESS": Answer.KEEP,
    "GROUP_COORDINATOR_NOT_AVAILABLE": Answer.KEEP,
    "COORDINATOR_NOT_AVAILABLE": Answer.KEEP,
    "REQUEST_TIMED_OUT": Answer.KEEP,
    "NOT_ENOUGH_REPLICAS": Answer.KEEP,
    "UNKNOWN_TOPIC_OR_PART": Answer.KEEP,
    "REBALANCE_IN_PROGRESS": Answer.KEEP,
    "STALE_MEMBER_EPOCH": Answer.RETRY,
    "UNKNOWN_MEMBER_ID": Answer.RETRY,
    "ILLEGAL_GENERATION": Answer.DROP,
    "FENCED_MEMBER_EPOCH": Answer.DROP,
    "FENCED_INSTANCE_ID": Answer.FENCED,
    "UNRELEASED_INSTANCE_ID": Answer.FENCED,
    "_FATAL": Answer.FATAL,
    "TOPIC_AUTHORIZATION_FAILED": Answer.CONFIG,
    "GROUP_AUTHORIZATION_FAILED": Answer.CONFIG,
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": Answer.CONFIG,
    "CLUSTER_AUTHORIZATION_FAILED": Answer.CONFIG,
    "_WAIT_COORD": Answer.KEEP,
    "_TRANSPORT": Answer.KEEP,
    "_TIMED_OUT": Answer.KEEP,
    "_ALL_BROKERS_DOWN": Answer.KEEP,
    "_DESTROY": Answer.KEEP,
    "_NO_OFFSET": Answer.KEEP,
    "_ASSIGNMENT_LOST": Answer.DROP,
    "_STATE": Answer.DROP,
    "OFFSET_METADATA_TOO_LARGE": Answer.KEEP,
}


def answer(code: str) -> Answer:
    """Return what to do about ``code``; one that is not in the table keeps the offsets, which loses nothing."""
    return _ANSWERS.get(code, Answer.KEEP)
