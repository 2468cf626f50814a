"""The command lines of children: what the supervisor writes is read, anything else is said plainly."""

import socket
import sys

import pytest

from supervisor.argv import our_end
from supervisor.core.exits import ExitCode


def test_what_the_supervisor_writes_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        fd = theirs.detach()
        monkeypatch.setattr(sys, "argv", ["worker", "--fd", str(fd), "--slot-file", "/run/a b/orders-0.slot"])

        connection, values = our_end("supervisor.worker", "--slot-file")

        with connection:
            assert connection.fileno() == fd
            assert values == ["/run/a b/orders-0.slot"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--fd", "3"],
        ["--slot-file", "/x"],
        ["--fd", "--slot-file", "/x"],
        ["--fd", "three", "--slot-file", "/x"],
        ["--fd", "3", "--slot-file"],
        ["--fd", "3", "--fd", "3", "--slot-file", "/x"],
        ["--fd", "3", "--slot-file", "/x", "--room", "xx"],
        ["--help"],
    ],
)
def test_anything_else_is_refused_with_what_was_expected(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", *words])

    with pytest.raises(SystemExit) as ended:
        our_end("supervisor.worker", "--slot-file")

    assert ended.value.code == ExitCode.USAGE
    found = " ".join(words) or "nothing"
    assert capsys.readouterr().err == (
        f"supervisor.worker: expected --fd NUMBER --slot-file VALUE, found {found}\n"
        "help: the supervisor starts this program; you want: supervisor run\n"
    )
