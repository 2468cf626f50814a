"""Answer one question or order about dead letters: ``python -m supervisor.inspector.dlq``.

The request (``core.dlq.DlqRequest``) comes over standard input, for it holds secrets. Lines of JSON go out over
standard output: ``progress`` (at least every few seconds while all is well), ``line`` (an exported letter), and in
the end one ``end`` with a ``DlqAnswer``.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Place, Verb
from supervisor.core.exits import ExitCode
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.spools import TABLE, letter_folder
from supervisor.core.suggest import did_you_mean
from supervisor.inspector.letter_dropping import drop_beginnings, drop_singly
from supervisor.inspector.letter_files import FileLetters, letter_files
from supervisor.inspector.letter_reading import Reading
from supervisor.inspector.letter_sender import KafkaSender
from supervisor.inspector.letter_source import Source, SourceError
from supervisor.inspector.letter_tables import TableLetters
from supervisor.inspector.replay_progress import alone, progress_file
from supervisor.inspector.replaying import Replaying
from supervisor.kafka.letters import KafkaLetters, letter_topics, topics_there
from supervisor.kafka.offsets import AskError
from supervisor.logs import set_up_logging
from supervisor.tether import die_with_parent

TELL_EVERY = 0.2
BEAT = 2.0


def main() -> ExitCode:
    """Read the request, do it, tell; a request that cannot be read is wrong usage."""
    try:
        request = from_json(DlqRequest, json.load(sys.stdin))
    except ValueError as error:
        sys.stderr.write(f"supervisor.inspector.dlq: the request is not understood: {error}\n")
        return ExitCode.USAGE
    set_up_logging("text", "warning", {"process": "inspector"})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not die_with_parent(request.parent_pid):
        return ExitCode.OK
    teller = Teller()
    answer = _answer(request, teller, stop)
    teller.end(answer)
    return ExitCode.FAILURE if answer.error else ExitCode.OK


def _answer(request: DlqRequest, teller: "Teller", stop: threading.Event) -> DlqAnswer:
    try:
        if request.verb is Verb.DRAIN:
            with teller.beating():
                return _drain(request, teller, stop)
        with teller.beating(), closing(_source(request)) as source:
            if request.verb is Verb.REPLAY:
                return _replay(request, source, teller, stop)
            return _read(source, Reading(request, source, tell=teller.progress, line=teller.line, stop=stop))
    except KafkaException as error:
        return DlqAnswer(error=f"librdkafka refuses the settings: {error.args[0].name()}")
    except AskError as error:
        return DlqAnswer(error=f"the brokers did not answer: {error}" if str(error).isupper() else str(error))
    except SourceError as error:
        return DlqAnswer(error=str(error))
    except OSError as error:
        return DlqAnswer(error=f"{error.filename or request.state_dir}: {error.strerror}")


def _read(source: KafkaLetters | FileLetters | TableLetters, reading: Reading) -> DlqAnswer:
    if reading.verb is not Verb.DROP:
        return reading.look()
    return drop_beginnings(reading, source) if isinstance(source, KafkaLetters) else drop_singly(reading, source)


def _replay(request: DlqRequest, source: Source, teller: "Teller", stop: threading.Event) -> DlqAnswer:
    file = progress_file(request.state_dir, request.group.name, request.replay.name)
    sender = KafkaSender(request.group)
    try:
        with alone(file.with_suffix(".lock")) as is_alone:
            if not is_alone:
                return DlqAnswer(error=f"replay {request.replay.name!r} runs already on this host")
            if request.replay.to and sender.lacks(request.replay.to):
                return DlqAnswer(error=_no_destination(request))
            return Replaying(request, source, sender, tell=teller.progress, stop=stop).run()
    finally:
        sender.close()


def _no_destination(request: DlqRequest) -> str:
    """Say that ``--to`` names no topic: before a note is made, for the right one is another replay's."""
    to = request.replay.to
    guess = did_you_mean(to, topics_there(request.group.kafka))
    return f"topic {to!r} of --to does not exist; nothing was sent\n  help: {guess}name one that is there, or make it"


def _drain(request: DlqRequest, teller: "Teller", stop: threading.Event) -> DlqAnswer:
    from supervisor.inspector.draining import NAME, Draining  # noqa: PLC0415 - user code is for drains only

    file = progress_file(request.state_dir, request.group.name, NAME)
    with alone(file.with_suffix(".lock")) as is_alone:
        if not is_alone:
            return DlqAnswer(error=f"the spools of group {request.group.name} are being drained")
        return Draining(request, tell=teller.progress, stop=stop).run()


def _source(request: DlqRequest) -> KafkaLetters | FileLetters | TableLetters:
    group, where = request.group, request.where
    if where.place is Place.KAFKA:
        template = group.dead_letters.topic
        topics = where.topics or letter_topics(group.topics, template, lambda: topics_there(group.kafka))
        if not topics:
            message = f"group {group.name} has no dead-letter topic yet"
            raise SourceError(message)
        is_noted = request.verb is Verb.REPLAY and not request.replay.dry_run
        are_named = bool(where.topics)
        return KafkaLetters(group, topics, replay=request.replay.name, is_ours=is_noted, are_named=are_named)
    progress = progress_file(request.state_dir, group.name, request.replay.name)
    if where.place is Place.FILE:
        return FileLetters(_named(request) or letter_files(Path(letter_folder(request.state_dir, group))), progress)
    folder = letter_folder(request.state_dir, group, "dlq_sqlite")
    return TableLetters(_named(request) or [Path(folder / TABLE)], progress)


def _named(request: DlqRequest) -> list[Path]:
    """Return the files that were named; nothing when the group's own are meant."""
    paths = [Path(file) for file in request.where.files]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        message = f"{', '.join(missing)}: no such file"
        raise SourceError(message)
    return paths


class Teller:
    """Writes frames. Any thread; who does not read any more keeps nothing from being done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()
        self._told_at = 0.0

    def progress(self, counts: Counts) -> None:
        """Tell how far it is, a few times a second at most."""
        self._counts = counts
        if time.monotonic() - self._told_at >= TELL_EVERY:
            self._write("progress", counts=to_json(counts))

    def line(self, text: str) -> None:
        """Hand out an exported letter."""
        self._write("line", line=text)

    def end(self, answer: DlqAnswer) -> None:
        """Tell what came of it all."""
        self._write("end", answer=to_json(answer))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Tell every few seconds that we are there, whatever the main thread waits for, all of it with a deadline."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT):
                self._write("progress", counts=to_json(self._counts))

        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _write(self, kind: str, **members: Any) -> None:  # noqa: ANN401 - JSON
        with self._lock:
            self._told_at = time.monotonic()
            try:
                sys.stdout.write(json.dumps({"type": kind, **members}) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                return


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: flushing standard output fails where nobody reads it any more.
    os._exit(code)
