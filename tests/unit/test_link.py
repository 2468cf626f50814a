import socket
import threading
import time
from collections.abc import Iterator

import pytest

from supervisor.core.frames import MAX_FRAME, FrameError, FrameReader, encode
from supervisor.link import MAX_UNSENT, RESERVE, Link


@pytest.fixture
def ends() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(1.0)
    with ours, theirs:
        yield Link(ours), theirs


def _fill(link: Link) -> None:
    while link.send("event", text="x" * 1000):
        pass


def _drain(theirs: socket.socket, link: Link) -> list[str]:
    reader, kinds = FrameReader(), []
    theirs.setblocking(False)
    for _ in range(1000):
        link.flush()
        try:
            kinds += [frame["type"] for frame in reader.feed(theirs.recv(1 << 20))]
        except BlockingIOError:
            break
    return kinds


def test_p8_a_parent_that_does_not_read_delays_nobody_and_is_not_lost(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends

    for _ in range(2000):
        link.send("event", text="x" * 1000)

    assert not link.lost
    kinds = _drain(theirs, link)
    assert 256 <= len(kinds) < 2000, "what waits is bounded, and whole"


def test_statistics_are_left_out_while_older_frames_wait(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends
    while not link._unsent:
        link.send("event", text="x" * 1000)

    link.send("stats", stats={})
    link.send("bye")

    kinds = _drain(theirs, link)
    assert "stats" not in kinds
    assert kinds[-1] == "bye"


def test_a_frame_that_is_longer_than_what_may_wait_is_taken_when_nothing_does(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends

    assert link.send("goals", goals="x" * (2 * MAX_UNSENT))
    assert not link.send("event", text="x")

    assert _drain(theirs, link) == ["goals"]


def test_what_is_said_once_finds_room_where_events_do_not(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends
    _fill(link)

    assert link.send("assigned", partitions=[["t" * 249, number] for number in range(500)])
    assert link.send("acquitted", records=[["t", 0, 1]])
    assert not link.send("event", text="x" * 1000)

    assert _drain(theirs, link)[-2:] == ["assigned", "acquitted"]


def test_p8_what_is_said_once_is_bounded_too(ends: tuple[Link, socket.socket]) -> None:
    link, _ = ends
    _fill(link)

    sent = 0
    while link.send("acquitted", records=[["t" * 249, 0, sent]]):
        sent += 1

    assert 1000 < sent < 10_000
    assert len(link._unsent) <= MAX_UNSENT + RESERVE


def test_a_frame_that_nobody_would_read_is_refused_and_raises_nothing(
    ends: tuple[Link, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    link, theirs = ends

    assert not link.send("event", text="x" * MAX_FRAME)
    assert link.send("bye")

    assert [record.message for record in caplog.records] == ["parent.frame_too_large"]
    assert "xxx" not in caplog.text
    assert _drain(theirs, link) == ["bye"]


def test_a_spec_may_be_longer_than_other_frames(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends
    line = encode("spec", spec={"topics": ["t" * 249] * 20_000})
    sender = threading.Thread(target=theirs.sendall, args=(line,))

    sender.start()
    (frame,) = link.wait(time.monotonic() + 20)
    sender.join()

    assert len(frame["spec"]["topics"]) == 20_000
    with pytest.raises(FrameError, match="over the limit"):
        encode("stop", overdue=["t" * 249] * 20_000)


def test_the_end_of_the_stream_is_the_parents_end(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends
    theirs.shutdown(socket.SHUT_RDWR)

    assert link.receive() == []
    assert link.lost
    link.send("event", text="to nobody")


def test_what_came_before_the_end_is_read_even_when_sending_fails(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends
    theirs.sendall(encode("stop") * 3)
    theirs.shutdown(socket.SHUT_RDWR)

    link.send("stats", stats={})
    link.send("event", text="to nobody")

    assert not link.lost
    assert [frame["type"] for frame in link.receive()] == ["stop"] * 3
    assert link.receive() == []
    assert link.lost


def test_waiting_for_frames_ends_with_its_deadline(ends: tuple[Link, socket.socket]) -> None:
    link, _ = ends
    began = time.monotonic()

    assert link.wait(began + 0.1) == []
    assert time.monotonic() - began >= 0.1


def test_last_words_go_out_when_the_parent_begins_to_read_before_the_deadline(ends: tuple[Link, socket.socket]) -> None:
    link, theirs = ends
    while len(link._unsent) < MAX_UNSENT // 2:
        link.send("event", text="x" * 1000)
    link.flush_until(time.monotonic() + 0.05)
    assert link._unsent, "nobody reads"

    reader = threading.Timer(0.1, _read_all, (theirs,))
    reader.start()
    link.flush_until(time.monotonic() + 5)

    assert not link._unsent
    link._sock.shutdown(socket.SHUT_WR)
    reader.join()


def _read_all(theirs: socket.socket) -> None:
    while theirs.recv(1 << 16):
        pass
