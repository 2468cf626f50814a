"""Have a child do it (``supervisor.inspector.dlq``), for we hold no Kafka client; show how far it is meanwhile."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from supervisor.cli.errors import CommandError
from supervisor.cli.output import console
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Verb
from supervisor.core.dlq_told import words
from supervisor.core.exits import describe
from supervisor.core.jsonable import from_json, to_json

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector.dlq")
SILENCE = 30.0
"""Seconds without a word after which the child is taken for stuck; it speaks every two."""
END = 10.0
PLAIN_EVERY = 5.0
STDERR_BYTES = 4096

Show = Callable[[Counts], None]
Line = Callable[[str], None]


def ask(request: DlqRequest, *, title: str, is_quiet: bool = False, line: Line = click.echo) -> DlqAnswer:
    """Have a child answer ``request``; blocks until it is done.

    The first Ctrl-C (or SIGTERM) lets it finish what it has in hand, a second one kills it. Raises ``CommandError``
    when it ends without an answer.
    """
    with _showing(title, is_quiet=is_quiet) as show, tempfile.TemporaryFile() as told:
        child = subprocess.Popen(
            PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, start_new_session=True
        )
        told_to_end: list[int] = []
        try:
            with _passed_on(child, told_to_end):
                _give(child, request)
                answer = _heard(child, show, line)
            child.wait(END)
        except subprocess.TimeoutExpired:
            answer = None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait(END)
            if child.stdout is not None:
                child.stdout.close()
        if answer is None:
            raise CommandError(_no_answer(child.returncode, told, request.verb, stopped=bool(told_to_end)))
    return answer


def _give(child: "subprocess.Popen[bytes]", request: DlqRequest) -> None:
    assert child.stdin is not None  # noqa: S101 - a pipe was asked for
    try:
        child.stdin.write(json.dumps(to_json(request)).encode())
        child.stdin.close()
    except BrokenPipeError:
        return


def _heard(child: "subprocess.Popen[bytes]", show: Show, line: Line) -> DlqAnswer | None:
    """Return the child's answer, ``None`` when it ended, or fell silent, without one."""
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    frames: queue.Queue[bytes] = queue.Queue(maxsize=1000)
    out = child.stdout
    reader = threading.Thread(target=_read, args=(out, frames), name="dlq-frames", daemon=True)
    reader.start()
    answer = None
    while True:
        try:
            text = frames.get(timeout=SILENCE)
        except queue.Empty:
            child.kill()
            break
        if not text.endswith(b"\n"):  # its end, perhaps within a line
            break
        frame: dict[str, Any] = json.loads(text)
        match frame["type"]:
            case "progress":
                show(from_json(Counts, frame["counts"]))
            case "line":
                line(frame["line"])
            case "end":
                answer = from_json(DlqAnswer, frame["answer"])
                show(answer.counts)
    reader.join(END)
    return answer


def _read(out: IO[bytes], frames: "queue.Queue[bytes]") -> None:
    with suppress(ValueError):  # closed meanwhile: the command ends, and nobody listens any more
        for text in out:
            frames.put(text)
    frames.put(b"")


@contextmanager
def _passed_on(child: "subprocess.Popen[bytes]", asked: list[int]) -> Iterator[None]:
    """Tell the child to end when we are told so; once more, and it is killed. ``asked`` gets the signals that came."""

    def passed(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) == 1:
            click.echo("finishing what is in hand; once more to kill it", err=True)
            child.send_signal(signal.SIGTERM)
        else:
            child.kill()

    before = {number: signal.signal(number, passed) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _no_answer(status: int, told: IO[bytes], verb: Verb, *, stopped: bool) -> str:
    goes_on = "; the same command goes on from where it was" if verb in (Verb.REPLAY, Verb.DRAIN) else ""
    if stopped:
        return f"told to stop before it was done{goes_on}"
    told.seek(0, os.SEEK_END)
    told.seek(max(0, told.tell() - STDERR_BYTES))
    text = told.read().decode(errors="replace").strip()
    message = f"it ended with {describe(status)} before it was done{goes_on}"
    return f"{message}\n{text}" if text else message


@contextmanager
def _showing(title: str, *, is_quiet: bool) -> Iterator[Show]:
    """Show progress on standard error: a bar on a terminal, a line now and then in a pipe."""
    if is_quiet:
        yield lambda _counts: None
        return
    out = console(err=True)
    if not out.is_terminal:
        yield _Plain(title)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(title, total=None, done="")

        def show(counts: Counts) -> None:
            total = max(counts.total, counts.read) or None
            progress.update(task, total=total, completed=counts.read, done=words(counts, none=""))

        yield show


class _Plain:
    """Lines for a pipe."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._at = time.monotonic()

    def __call__(self, counts: Counts) -> None:
        if time.monotonic() - self._at >= PLAIN_EVERY:
            self._at = time.monotonic()
            became = words(counts, none="")
            told = f"{counts.read} of {counts.total} letters" + (f", {became}" if became else "")
            click.echo(f"{self._title}: {told}", err=True)
