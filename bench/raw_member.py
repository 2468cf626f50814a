"""A static member as one writes it by hand: subscribe, poll, note, commit. The baseline of ``failover``.

``python raw_member.py SETTINGS TOPIC LEDGER``: the client's settings as JSON, and the file to write lines to,
which gets the process id added to its name.
"""

import json
import os
import sys
import time

from confluent_kafka import Consumer


def main() -> None:
    """Consume until killed; callbacks and records are noted with the monotonic time."""
    settings, topic, ledger = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    file = os.open(f"{ledger}-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(what: str) -> None:
        os.write(file, f"{what} {time.monotonic()}\n".encode())

    consumer = Consumer(settings)
    consumer.subscribe(
        [topic],
        on_assign=lambda *_: note("assigned"),
        on_revoke=lambda *_: note("revoked"),
        on_lost=lambda *_: note("lost"),
    )
    committed_at = time.monotonic()
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            note(f"record {message.partition()}")
            consumer.store_offsets(message=message)
        if time.monotonic() - committed_at >= 1.0:
            committed_at = time.monotonic()
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
