"""WebSocket text frames: what is announced is there, and comes out again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.servers.text_frames import text_frame, text_payloads


@given(st.binary(max_size=70_000))
def test_text_frame_has_the_length_it_announces(payload: bytes) -> None:
    frame = text_frame(payload)
    assert frame[0] == 0x81
    if len(payload) < 126:
        header, announced = 2, frame[1]
    elif len(payload) < 65_536:
        header, announced = 4, int.from_bytes(frame[2:4], "big")
    else:
        header, announced = 10, int.from_bytes(frame[2:10], "big")
    assert announced == len(payload)
    assert frame[header:] == payload


def test_payloads_come_out_as_they_went_in_whatever_their_lengths() -> None:
    sizes = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000, 3)
    payloads = [bytes((number,)) * size for number, size in enumerate(sizes)]
    assert list(text_payloads(b"".join(map(text_frame, payloads)))) == payloads
    assert list(text_payloads(b"")) == []
