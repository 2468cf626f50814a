"""A FastStream application for ``faststream run --workers``: it notes records and callbacks as ``raw_member`` does."""

import functools
import json
import os
import time

from faststream import FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

# What `deployments` names; nothing of ours is imported, since every process of this peer would pay for it.
_TASK = json.loads(os.environ["FASTSTREAM_TASK"])


@functools.cache
def _ledger() -> int:
    """Open this process' file at its first note: the process that starts the others imports this module too."""
    return os.open(f"{_TASK['ledger']}/member-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _note(what: str) -> None:
    os.write(_ledger(), f"{what} {time.monotonic()}\n".encode())


broker = KafkaBroker(_TASK["bootstrap"], allow_auto_create_topics=False)
app = FastStream(broker)


@broker.subscriber(  # type: ignore[untyped-decorator]
    _TASK["topic"],
    group_id=_TASK["group"],
    auto_offset_reset="earliest",
    on_assign=lambda *_: _note("assigned"),
    on_revoke=lambda *_: _note("revoked"),
    on_lost=lambda *_: _note("lost"),
)
async def note(_body: bytes, message: KafkaMessage) -> None:
    """Note one record."""
    _note(f"record {message.raw_message.partition()}")
