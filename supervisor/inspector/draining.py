"""Drain spools: letters that a group's fallback kept in files go to its sink, and the files go.

Workers may write meanwhile. What is read is what was there; when nothing is left behind it, the file is deleted under
the lock that writers take for each line. At least once: how far it is stands in a file of its own.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Event

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Stored
from supervisor.core.letter_lines import line_of
from supervisor.core.letters import shorter
from supervisor.core.spools import letter_folder
from supervisor.inspector.letter_files import FileLetters, letter_files, locked
from supervisor.inspector.letter_sender import KafkaSender, Out, SendError
from supervisor.inspector.letter_source import SourceError
from supervisor.inspector.replay_progress import progress_file, sync_folder
from supervisor.kafka.refusals import REFUSALS, TOO_LARGE
from supervisor.kafka.topics import DeadLetterTopics
from supervisor.plugin.active import Active
from supervisor.plugin.errors import PluginError, StartError
from supervisor.plugin.loader import load_sink
from supervisor.plugin.types import Disposition, Letter, Produce, WorkerContext

NAME = ".spool"
"""The replay whose progress says how far spools are drained; no name that a person gives."""
CHUNK = 100
BEAT = 1.0
INCARNATION = 0

Tell = Callable[[Counts], None]


class Draining:
    """One run over the spools of a group. ``tell`` hears how far it is; ``stop`` ends it after the chunk in hand."""

    def __init__(self, request: DlqRequest, *, tell: Tell, stop: Event) -> None:
        self._request = request
        self._tell = tell
        self._stop = stop
        self._counts = Counts()
        self._unreadable: list[tuple[int, bytes]] = []
        group = request.group
        self._sender = KafkaSender(group, timeout=group.dead_letters.timeout, may_make=True)
        topics = DeadLetterTopics(group.kafka, client_id=f"{group.name}-drain")
        self._topics = topics if group.dead_letters.create else None
        self._began = time.monotonic()

    def run(self) -> DlqAnswer:
        """Drain what there is; what cannot be sent now stays, and is said."""
        error, left = "", []
        seconds = self._request.replay.seconds
        try:
            for path in self._files():
                if seconds and time.monotonic() - self._began > seconds:
                    self._stop.set()
                if self._stop.is_set() or not self._drain(path):
                    left.append(str(path))
        except (SendError, SourceError) as problem:
            error = str(problem)
        except (PluginError, StartError) as problem:
            error = f"the sink cannot be used: {problem}"
        except OSError as problem:
            error = f"{problem.filename or 'a spool'}: {problem.strerror}"
        finally:
            self._sender.close()
        return DlqAnswer(counts=self._counts, error=error, stopped=self._stop.is_set(), kept=tuple(left))

    def _files(self) -> list[Path]:
        request = self._request
        if request.where.files:
            return [Path(file) for file in request.where.files]
        return letter_files(Path(letter_folder(request.state_dir, request.group)))

    def _drain(self, path: Path) -> bool:
        """Drain one file; ``False`` when something is left in it."""
        sink = self._sink(path)
        try:
            while not self._stop.is_set():
                source = self._opened(path)
                try:
                    self._empty(path, source, sink)
                    if self._stop.is_set():
                        return False
                    self._pass(path, source.position(path.name))
                    source.passed(path.name)
                    if self._delete(path, source):
                        return True
                finally:
                    source.close()
        finally:
            sink.worker_stopping()
        return False

    def _opened(self, path: Path) -> FileLetters:
        source = FileLetters([path], self._progress())
        self._unreadable = []
        source.on_unreadable = lambda position, line: self._unreadable.append((position, line))
        source.open(pending=True, meaning="")
        self._counts = replace(self._counts, total=self._counts.read + source.total)
        return source

    def _pass(self, path: Path, upto: int) -> None:
        """Put aside what is no letter below ``upto``, and nothing behind it: that is read again, perhaps often."""
        passed = [line for position, line in self._unreadable if position < upto]
        self._unreadable = [one for one in self._unreadable if one[0] >= upto]
        _put_aside(path, passed)
        self._counts = replace(self._counts, unreadable=self._counts.unreadable + len(passed))

    def _empty(self, path: Path, source: FileLetters, sink: Active) -> None:
        """Send what a file holds now."""
        self._tell(self._counts)
        most = CHUNK if not self._request.replay.rate else max(1, min(CHUNK, round(self._request.replay.rate / 2)))
        while not self._stop.is_set() and (letters := source.read(most)):
            rejected = self._counts.rejected
            settled, error = self._send(letters, sink)
            if settled:
                self._pass(path, letters[settled - 1].after)
                source.done(letters[:settled])
                sent = settled - (self._counts.rejected - rejected)
                self._counts = replace(self._counts, read=self._counts.read + settled, sent=self._counts.sent + sent)
            if error is not None:
                raise error
            self._pace()

    def _send(self, letters: Sequence[Stored], sink: Active) -> tuple[int, SendError | None]:
        """Send letters; return how many of them, from the first on, are settled, and why the next one is not."""
        outs: list[Out | None] = []
        failed: SendError | None = None
        for letter in letters:
            try:
                outs.append(self._offered(letter, sink))
            except SendError as error:
                failed = error
                break
        produced = [out for out in outs if out is not None]
        errors = dict(zip([out.about for out in produced], self._sender.send_each(produced), strict=True))
        for at, out in enumerate(outs):
            refused = errors[out.about] if out is not None else None
            if out is None or refused is None:
                continue
            if refused.code not in REFUSALS or not self._settled_anyhow(letters[at], out, refused.code):
                if self._topics is not None:
                    self._topics.forget(out.topic)
                return at, SendError(f"{out.about} to {out.topic}: {refused}")
        return len(outs), failed

    def _offered(self, letter: Stored, sink: Active) -> Out | None:
        """Offer a letter to the sink; return what is to be produced of it, if anything. User code runs here."""
        name = self._request.group.dead_letters.sink
        given = _letter(letter)
        try:
            answer: object = sink.sink(name)(given)
            if isinstance(answer, Future):
                answer.result(self._request.group.dead_letters.timeout)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # user plugin: any failure means "not written"
            code = getattr(error, "code", None) or type(error).__name__
            message = f"{letter.id}: {name}: {code}"
            raise SendError(message) from error
        if not isinstance(answer, Produce):
            return None
        if self._topics is not None:
            self._topics.make(answer.topic, like=given.source_topic)
        headers = tuple(answer.headers)
        return Out(letter.id, answer.topic, answer.partition, _raw(answer.key), _raw(answer.value), headers)

    def _settled_anyhow(self, letter: Stored, out: Out, code: str) -> bool:
        """Send a letter that is too large with less of our headers; one that nothing helps is put aside."""
        profile = self._request.group.dead_letters.headers
        headers = shorter(tuple(out.headers), profile)
        while code in TOO_LARGE and headers is not None:
            (error,) = self._sender.send_each([replace(out, headers=headers)])
            if error is None:
                return True
            code, headers = error.code, shorter(headers, profile)
        if code not in REFUSALS:
            return False
        # Not read again: the file of that name may be another one by now.
        folder = Path(letter_folder(self._request.state_dir, self._request.group))
        _put_aside(folder / letter.place, [line_of(letter)])
        self._counts = replace(self._counts, rejected=self._counts.rejected + 1)
        return True

    def _delete(self, path: Path, source: FileLetters) -> bool:
        """Delete a file that was read; ``False`` when a worker has written to it since, or put it aside."""
        try:
            with locked(path) as file:
                if not source.is_same(path.name, file):
                    return False
                file.seek(source.position(path.name))
                rest = file.read()
                if b"\n" in rest:
                    return False
                _put_aside(path, [rest] if rest.strip() else [])  # nobody holds it: its writer died within the line
                path.unlink()
                sync_folder(path.parent)
                source.gone(path.name)
        except FileNotFoundError:
            return True
        self._counts = replace(self._counts, files=self._counts.files + 1)
        return True

    def _sink(self, path: Path) -> Active:
        """Return the sink, made for the slot that wrote the file; the worker of that slot may be gone for good."""
        group, request = self._request.group, self._request
        slot = path.name.split(".")[0]
        sink = load_sink(group.plugins, group.dead_letters.sink)
        sink.worker_started(
            WorkerContext(
                supervisor=request.supervisor,
                group=group.name,
                slot=int(slot) if slot.isdecimal() else 0,
                incarnation=INCARNATION,
                state_dir=request.state_dir,
                produce=self._sender.producer,
            )
        )
        return sink

    def _progress(self) -> Path:
        return progress_file(self._request.state_dir, self._request.group.name, NAME)

    def _pace(self) -> None:
        self._tell(self._counts)
        replay = self._request.replay
        if replay.seconds and time.monotonic() - self._began > replay.seconds:
            self._stop.set()
        if not replay.rate:
            return
        due = self._began + self._counts.sent / replay.rate
        while (left := due - time.monotonic()) > 0 and not self._stop.wait(min(left, BEAT)):
            self._tell(self._counts)


def _letter(letter: Stored) -> Letter:
    view = letter.view
    known = view.disposition in list(Disposition)
    return Letter(
        audit_id=view.audit_id,
        topic=letter.topic,
        key=letter.key,
        value=letter.value,
        headers=tuple(letter.headers),
        source_topic=view.topic,
        source_partition=view.partition or 0,
        source_offset=view.offset or 0,
        disposition=Disposition(view.disposition) if known else Disposition.ERROR,
        timestamp=view.timestamp,
    )


def _put_aside(path: Path, lines: Sequence[bytes]) -> None:
    """Keep lines that no sink can take in a file beside, which nobody drains."""
    if not lines:
        return
    aside = path.with_name(f"{path.name}.rejected")
    file = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.closing(os.fdopen(file, "ab")) as out:
        out.write(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines))
        out.flush()
        os.fsync(out.fileno())


def _raw(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
