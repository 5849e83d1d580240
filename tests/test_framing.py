"""Where messages begin and end, told from the bytes of a client; the oracle is the WebSocket library itself."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from wsproto_tracker.server.framing import FRAME_BYTES, FrameCutter, MessageMeter

PAYLOADS = st.binary(max_size=200) | st.sampled_from([125, 126, 127, 65535, 65536, 70000]).map(bytes)
CONTROLS = st.lists(st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)), max_size=2)
MESSAGES = st.lists(st.lists(st.tuples(PAYLOADS, CONTROLS), min_size=1, max_size=3), max_size=5)


def frames_of(fragments: list[tuple[bytes, list[Frame]]]) -> list[Frame]:
    """A message in fragments, with pings and pongs behind each of them."""
    frames: list[Frame] = []
    for number, (payload, controls) in enumerate(fragments):
        opcode = Opcode.CONT if number else Opcode.TEXT
        frames += [Frame(opcode, payload, fin=number == len(fragments) - 1), *controls]
    return frames


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 400_000), max_size=20), masked=st.booleans())
def test_sizes(messages: list[list[tuple[bytes, list[Frame]]]], cuts: list[int], masked: bool) -> None:
    """However the bytes are cut, each message takes its payloads and a constant per frame, and ends where it ends."""
    wire = b"".join(frame.serialize(mask=masked) for message in messages for frame in frames_of(message))
    sizes, size = [], 0
    meter = MessageMeter()
    for start, stop in pairwise(sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})):
        for _, takes, ends in meter.feed(wire[start:stop]):
            size += takes
            if ends:
                sizes.append(size)
                size = 0
    assert sizes == [sum(len(payload) + FRAME_BYTES for payload, _ in message) for message in messages]
    assert size == 0


@given(st.lists(st.binary(max_size=50)))
def test_anything(pieces: list[bytes]) -> None:
    """Whatever a client sends, it is followed without an error, and no more is counted than came."""
    meter = MessageMeter()
    frames = [takes for piece in pieces for _, takes, _ in meter.feed(piece)]
    assert 0 <= sum(frames) <= sum(map(len, pieces)) + FRAME_BYTES * len(frames)


FLOOD = st.lists(
    st.builds(Frame, st.sampled_from([Opcode.TEXT, Opcode.PING, Opcode.PONG]), st.binary(max_size=3)), max_size=200
)


@given(flood=FLOOD, cuts=st.lists(st.integers(0, 2_000), max_size=3))
def test_cutter(flood: list[Frame], cuts: list[int]) -> None:
    """Of many frames, pings as well, the library gets all, and never more than a few at a time."""
    wire = b"".join(frame.serialize(mask=True) for frame in flood)
    cutter, library = FrameCutter(), Protocol(Side.SERVER)
    counted, parsed = 0, 0
    for start, stop in pairwise(sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})):
        cutter.put(wire[start:stop])
        while before := cutter.left_bytes:
            piece, frames = cutter.cut()
            assert len(piece) == before - cutter.left_bytes > 0
            counted += sum(takes for takes, _ in frames)
            library.receive_data(piece)
            received = library.events_received()
            assert len(received) <= 33  # one may have begun in the data before
            parsed += len(received)
    assert parsed == len(flood)
    assert counted == sum(FRAME_BYTES + len(frame.data) for frame in flood if frame.opcode is Opcode.TEXT)
