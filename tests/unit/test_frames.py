import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import frames
from supervisor.core.frames import Frame, FrameError, FrameReader, encode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_frame_is_one_line_of_json_with_a_version_and_a_type() -> None:
    line = encode("stop", end="keep", timeout=30.0)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"v": frames.VERSION, "type": "stop", "end": "keep", "timeout": 30.0}


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "text"]), json_values), max_size=5), st.data())
def test_frames_come_out_whole_however_the_stream_was_cut(sent: list[dict[str, object]], data: st.DataObject) -> None:
    stream = b"".join(encode("x", **members) for members in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()

    got: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])

    assert got == [{"v": frames.VERSION, "type": "x", **members} for members in sent]


def test_an_unfinished_frame_waits_for_its_rest() -> None:
    reader = FrameReader()
    line = encode("ready")

    assert reader.feed(line[:-1]) == []
    assert [frame["type"] for frame in reader.feed(line[-1:])] == ["ready"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello\n", "not JSON"),
        (b"[1]\n", "not an object with a type"),
        (b'{"v":1}\n', "not an object with a type"),
        (b'{"v":1,"type":7}\n', "not an object with a type"),
        (b'{"v":2,"type":"stop"}\n', "frame version 2"),
        (b'{"type":"stop"}\n', "frame version None"),
        (b"\xff\xfe\n", "not JSON"),
    ],
)
def test_what_is_no_frame_of_this_version_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        FrameReader().feed(line)


def test_a_type_nobody_knows_is_passed_on() -> None:
    (frame,) = FrameReader().feed(encode("from-the-future", x=1))

    assert frame["type"] == "from-the-future"


def test_a_peer_that_never_ends_its_line_is_refused_before_memory_is() -> None:
    reader = FrameReader()
    reader.feed(b"x" * frames.MAX_FRAME)

    with pytest.raises(FrameError, match="limit"):
        reader.feed(b"x")


def test_a_frame_above_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="'event' frame"):
        encode("event", text="x" * frames.MAX_FRAME)


def test_the_largest_frame_that_may_be_sent_is_accepted() -> None:
    room = frames.MAX_FRAME - len(encode("event", text=""))
    line = encode("event", text="x" * room)

    assert len(line) == frames.MAX_FRAME
    assert len(FrameReader().feed(line)) == 1
