"""How ``dlq`` commands end that do not come to their end: told to stop, a full disk, a reader that goes away."""

import json
import os
import queue
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from supervisor.cli.dlq import asking
from supervisor.cli.dlq.exported import lines_to
from supervisor.cli.errors import CommandError
from supervisor.cli.main import cli
from supervisor.core.dlq import Counts, DlqAnswer, stored
from supervisor.core.jsonable import to_json
from supervisor.core.letter_lines import line_of
from tests.kafka.letters import Folder, story
from tests.waiting import wait_until

MANY = 6000
"""Letters of 700 bytes: more than pipes and queues on the way hold, and than the child reads in one go."""


def line(offset: int) -> bytes:
    headers = story("orders", "orders", 0, offset)
    made = stored("f", 0, 1, topic="orders.dlq", partition=0, key=b"k", value=b"v", headers=headers, written_at=1.0)
    return line_of(made) + b"\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Commands about a file need no broker."""
    nobody: Any = SimpleNamespace(bootstrap="127.0.0.1:1")
    return Folder(tmp_path, nobody, "orders")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("letters") / "letters.jsonl"
    path.write_bytes(b"".join(map(line, range(MANY))))
    return str(path)


def begun(folder: Folder, *arguments: str, **more: Any) -> "subprocess.Popen[bytes]":
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    # Unbuffered, Python itself loses the rest of a write that was cut short.
    environment = {name: value for name, value in folder.environment.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(folder.command(*arguments), cwd=folder.folder, env=environment, **given)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_export_that_is_told_to_stop_says_so_and_how_far_it_is(
    folder: Folder, letters: str, number: signal.Signals
) -> None:
    command = begun(folder, "export", "--file", letters)
    assert command.stdout is not None
    written = [command.stdout.readline()]
    command.send_signal(number)
    wait_until(lambda: b"once more" in _peeked(command), 30)

    rest, told = _heard(command)

    written += rest.splitlines()
    assert command.returncode == 1
    assert 0 < len(written) < MANY
    assert [json.loads(text)["v"] for text in written] == [1] * len(written)
    assert "told to stop after" in told.decode()
    assert f"{len(written)} letters were written: not all" in told.decode()


def _heard(command: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """Return what was not read yet; ``communicate`` forgets what Python has read ahead."""
    assert command.stdout is not None
    assert command.stderr is not None
    with command.stdout as out, command.stderr as err:
        heard = out.read(), err.read()
    command.wait(60)
    return heard


def _peeked(command: "subprocess.Popen[bytes]") -> bytes:
    assert command.stderr is not None
    return command.stderr.peek(1)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("verb", ["list", "stats", "show", "drop", "export"])
@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_told_to_stop_does_not_look_like_all_of_it(
    folder: Folder, letters: str, monkeypatch: pytest.MonkeyPatch, verb: str, *, as_json: bool
) -> None:
    answer = to_json(DlqAnswer(counts=Counts(total=9, read=4), stopped=True))
    frame = json.dumps({"type": "end", "answer": answer}) + "\n"
    program = f"import sys; sys.stdin.read(); sys.stdout.write({frame!r})"
    monkeypatch.setattr(asking, "PROGRAM", (sys.executable, "-c", program))
    arguments = {"show": ["f@1"], "drop": ["--yes"], "export": []}.get(verb, [])
    arguments += ["--json"] if as_json and verb != "export" else []

    done = CliRunner().invoke(
        cli, ["-c", str(folder.folder / "supervisor.toml"), "dlq", verb, "orders", "--file", letters, *arguments]
    )

    assert done.exit_code == 1
    assert "told to stop after 4 of about 9 letters" in done.stderr
    if as_json and verb in {"list", "stats"}:
        assert json.loads(done.stdout)["stopped"] is True


def test_a_child_that_dies_of_the_stop_says_that_it_was_one(folder: Folder, letters: str) -> None:
    command = begun(folder, "export", "--file", letters)
    assert command.stdout is not None
    command.stdout.readline()
    for _ in range(2):
        command.send_signal(signal.SIGTERM)
        wait_until(lambda: b"once more" in _peeked(command), 30)

    _, told = _heard(command)

    assert command.returncode == 1
    assert "told to stop before it was done\n" in told.decode()
    assert "goes on" not in told.decode()


def test_a_full_disk_ends_an_export_with_whole_letters_and_their_number(folder: Folder, letters: str) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_123, 400_123))

    command = begun(folder, "export", "--file", letters, "--output", "some.jsonl", preexec_fn=small)
    _, told = command.communicate(timeout=60)

    data = (folder.folder / "some.jsonl").read_bytes()
    lines = data.splitlines()
    assert command.returncode == 1
    assert data.endswith(b"\n")
    assert [json.loads(text)["source"]["offset"] for text in lines] == list(range(len(lines)))
    assert 399_000 < len(data) <= 400_123
    assert told.decode().startswith("some.jsonl: File too large\n")
    assert f"some.jsonl holds {len(lines)} letters: not all" in told.decode()
    assert "Traceback" not in told.decode()
    listed = folder.answer("list", "--file", "some.jsonl", "--limit", "0")
    assert (listed["counts"]["read"], listed["counts"]["unreadable"]) == (len(lines), 0)


@pytest.mark.parametrize(
    "arguments", [("export",), ("list",), ("list", "--json"), ("stats",), ("stats", "--json"), ("drop", "--dry-run")]
)
def test_standard_output_that_is_full_is_said_without_a_traceback(
    folder: Folder, letters: str, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as full:
        command = begun(folder, *arguments, "--file", letters, stdout=full)
        _, told = command.communicate(timeout=60)

    assert command.returncode == 1
    assert "standard output: No space left on device" in told.decode()
    assert "Traceback" not in told.decode()
    assert "Exception ignored" not in told.decode()


@pytest.mark.parametrize("arguments", [("export",), ("list", "--limit", "0"), ("list", "--limit", "0", "--json")])
def test_a_reader_that_goes_away_ends_a_command_quietly(
    folder: Folder, letters: str, arguments: tuple[str, ...]
) -> None:
    command = begun(folder, *arguments, "--file", letters)
    assert command.stdout is not None
    command.stdout.readline()
    command.stdout.close()
    command.stdout = None

    _, told = command.communicate(timeout=60)

    assert (command.returncode, told) == (1, b"")


def test_what_reads_on_for_a_command_that_ends_is_no_error() -> None:
    """Its thread would say so on standard error, with a traceback."""
    end, given = os.pipe()
    os.write(given, b"1\n2\n3\n")
    os.close(given)
    frames: queue.Queue[bytes] = queue.Queue(maxsize=1)
    out = os.fdopen(end, "rb")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(asking._read, out, frames)
        wait_until(frames.full)
        out.close()
        taken = [frames.get(timeout=10)]
        while taken[-1].endswith(b"\n"):
            taken.append(frames.get(timeout=10))

    assert reading.exception() is None
    assert taken[0] == b"1\n"


def test_an_export_that_failed_leaves_no_empty_file_in_the_way(folder: Folder) -> None:
    told = folder.run("export", "--file", "nowhere.jsonl", "--output", "some.jsonl", code=1).stderr

    assert "nowhere.jsonl: no such file" in told
    assert not (folder.folder / "some.jsonl").exists()


def test_an_export_of_nothing_is_an_empty_file(folder: Folder, letters: str) -> None:
    folder.run("export", "--file", letters, "--key", "nobody's", "--output", "some.jsonl")

    assert (folder.folder / "some.jsonl").read_bytes() == b""


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: pytest's own output may be one, so no longer than what is tested."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_without_room_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"

    def write() -> None:
        with lines_to(path) as lines:
            lines.write("12345")
            lines.write("67890")
            with room(14):
                lines.write("abcde")

    with pytest.raises(CommandError, match="holds 2 letters: not all"):
        write()

    assert path.read_bytes() == b"12345\n67890\n"
