"""A handler: what happens to each record of the topic "orders".

`supervisor demo` runs it. Without $ORDERS_LEDGER it prints one line per order; with it, it appends one line per
order to a file of that folder, one file per worker process, from which the demo proves that nothing was lost.
"""

import json
import os
import time
from functools import cache
from pathlib import Path

from supervisor.plugin import Record


class InvalidOrderError(Exception):
    """The order can never be worked, however often it is tried."""


def process(record: Record) -> None:
    order = json.loads(record.value or b"{}")
    if order.get("amount", 0) < 0:
        message = f"order {order.get('id')} has a negative amount"
        raise InvalidOrderError(message)
    time.sleep(order.get("takes", 0.0))  # the work: a call to another service, a database
    deliver(record)


def deliver(record: Record) -> None:
    line = json.dumps(
        {"topic": record.topic, "partition": record.partition, "offset": record.offset, "pid": os.getpid()}
    )
    folder = os.environ.get("ORDERS_LEDGER")
    if folder:
        os.write(ledger(folder), f"{line}\n".encode())
    else:
        print(line, flush=True)


@cache
def ledger(folder: str) -> int:
    # One write() with O_APPEND per record: after kill -9 the line is there or it is not, never half of it.
    return os.open(Path(folder) / f"{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
