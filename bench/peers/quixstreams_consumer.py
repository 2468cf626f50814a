"""quixstreams: ``StreamingDataFrame.update`` with undecoded values, a checkpoint per second."""

import time

from quixstreams import Application

from bench.peers.task import begin


def main() -> None:
    """Run until killed."""
    task, tally = begin()
    words = tally.words
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        consumer_extra_config=task.client,
        auto_create_topics=False,
        loglevel="WARNING",
    )

    def handle(_value: object) -> None:
        if task.sleep:
            time.sleep(task.sleep)
        words[0] += 1

    app.dataframe(app.topic(task.topic, value_deserializer="bytes")).update(handle)
    app.run()


if __name__ == "__main__":
    main()
