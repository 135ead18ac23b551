"""One suite for every registered venue: the same files, the same manners.

Those behind a broker's SDK have no messages of their own; they have their files in common.
"""

from pathlib import Path

import pytest

import gateway.venues
from gateway.config import VenueConfig
from gateway.errors import UnknownStreamError
from gateway.subscriptions.plan import plan, streams_of
from gateway.venue import NO_BOOKS, RestRequest
from gateway.venues.registry import SOCKET_VENUE_NAMES, VENUE_NAMES, find, is_callback
from tickd.topics import CHANNELS

FOLDERS = Path(gateway.venues.__path__[0])
FILES = {"__init__.py", "wire.py", "sync.py", "limits.py", "history.py", "README.md"}
CALLBACK_FILES = FILES - {"sync.py", "history.py"}
CALLBACK_FILES |= {"contracts.py", "hours.py", "past.py", "sdk.py"}
SYMBOLS = ("BTC-USDT", "ETH-USDT")


@pytest.fixture(params=SOCKET_VENUE_NAMES)
def venue(request):
    return find(request.param)


def test_every_folder_has_the_same_files_and_is_registered():
    folders = [f for f in FOLDERS.iterdir() if f.is_dir() and f.name != "__pycache__"]
    assert {f.name.replace("_", "-") for f in folders} == set(VENUE_NAMES)
    for folder in folders:
        files = CALLBACK_FILES if is_callback(folder.name.replace("_", "-")) else FILES
        assert {f.name for f in folder.iterdir() if f.name != "__pycache__"} == files, folder.name


def channels_of(venue):
    """The channels that a venue has; what it has not it refuses by name."""
    found, refusals = [], {}
    for channel in CHANNELS:
        try:
            venue.wire.streams((channel,), SYMBOLS, None)
        except UnknownStreamError as refused:
            refusals[channel] = str(refused)
        else:
            found.append(channel)
    assert all(channel in text for channel, text in refusals.items())
    assert found
    return tuple(found)


def test_streams_are_unique_and_have_endpoints_and_topics(venue):
    channels = tuple(c for c in channels_of(venue) if c in {"trade", "quote", "depth"})
    streams = venue.wire.streams(channels, SYMBOLS, None)
    assert len({s.name for s in streams}) == len(streams) == len(channels) * len(SYMBOLS)
    for stream in streams:
        assert stream.endpoint in venue.wire.endpoints
        assert stream.topics == (f"{stream.channel}.{venue.name}.{stream.symbol}",)


def test_subscriptions_stay_within_the_limits(venue):
    symbols = tuple(f"COIN{number}-USDT" for number in range(600))
    config = VenueConfig(
        name=venue.name,
        symbols=symbols,
        channels=channels_of(venue)[:3],
        streams_per_connection=1024,
    )
    for connection in plan(venue, config, streams_of(venue, config, symbols)):
        messages = venue.wire.subscribe(connection.streams, 1)
        assert sum(message.acks for message in messages) >= 1
        assert max(len(message.text) for message in messages) <= venue.limits.message_bytes_max


def test_resync_is_a_request_or_messages(venue):
    if "depth" not in channels_of(venue):
        assert venue.sync is NO_BOOKS
        return
    streams = venue.wire.streams(("depth",), SYMBOLS[:1], None)
    resync = venue.sync.resync(SYMBOLS[0], streams, 1)
    if isinstance(resync, RestRequest):
        assert SYMBOLS[0] in resync.target
        assert 0 < resync.weight <= venue.limits.rest_weight.events_max
    else:
        assert resync


def test_no_frame_makes_stream_name_fail(venue):
    for payload in (b"", b"pong", b"{", b"\xff\x00", b"[]", b'{"stream":', b'{"arg":{}}'):
        venue.wire.stream_name(payload)


def test_every_silence_budget_is_for_a_known_channel(venue):
    assert set(venue.limits.silence_seconds) <= set(CHANNELS)
    assert "liquidation" not in venue.limits.silence_seconds
