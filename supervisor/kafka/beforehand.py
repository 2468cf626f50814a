"""What librdkafka sets up once per process, for a process that will fork others: no client, thread or connection."""

from confluent_kafka import Consumer, KafkaException


def set_up() -> None:
    """Have librdkafka make what all clients of a process share: its own tables, OpenSSL's.

    1.4 MB and some milliseconds that a forked process need not spend again. The binding has no call for it; but a
    client with an assignor that does not exist is refused behind it, and before its first thread.
    """
    try:
        Consumer({"group.id": "none", "partition.assignment.strategy": "none", "log_level": 0}).close()
    except KafkaException:
        return
