"""User code that puts a record's value wherever it can: into exceptions of a handler, a policy and a sink."""

import os
import time
from pathlib import Path

from supervisor.plugin import Failure, Letter, Record, hookimpl


def process(record: Record) -> None:
    raise ValueError(f"cannot work {record.value!r}")


class Policy:
    @hookimpl
    def retry_decision(self, failure: Failure) -> None:
        if failure.attempt > 1:
            raise RuntimeError(f"cannot decide over {failure.record.value!r}")


class Sink:
    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        raise OSError(f"cannot write {letter.value!r}")


class HangingSink:
    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        Path(os.environ["LEDGER"], "asked").touch()
        time.sleep(60)
