"""Events of every stored kind with the worst values that a field can hold, from a seed.

Shapes are right (a head is followed by its levels), values are not: sentinels, both ends of the
range, and anything between.
"""

from random import Random

import numpy as np

from tickd.events import EVENT, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF, Flag, Kind
from tickd.native import EventBatch

I64_MIN, I64_MAX, U64_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
TIMES = (I64_MIN, -9_223_372_036 * 10**9 - 1, -9_223_372_036 * 10**9, -1, 0, 1, 10**9, TS_UNDEF)
MANTISSAS = (I64_MIN, I64_MIN + 1, -1, 0, 1, I64_MAX - 1, PRICE_UNDEF, SIZE_UNDEF, 1 << 53)
IDS = (0, 1, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, U64_MAX - 1, ID_UNDEF)
ALONE = (
    Kind.TRADE,
    Kind.MARK,
    Kind.INDEX,
    Kind.FUNDING,
    Kind.OPEN_INTEREST,
    Kind.LIQUIDATION,
    Kind.BOOK_STATE,
    Kind.STATUS,
    Kind.GAP,
    Kind.CLEAR,
)


def extreme_batch(seed, frames, *, ts_recv_ns, times=TIMES, frame_no=1):
    """A batch of `frames` messages, one frame each; times of receipt rise by a millisecond."""
    dice = Random(seed)
    rows = []
    for number in range(frame_no, frame_no + frames):
        recv = ts_recv_ns + (number - frame_no) * 1_000_000
        index = 0

        def add(kind, *, flags, side="N", aux=None, recv=recv, number=number):
            nonlocal index
            mantissa = lambda: dice.choice((dice.choice(MANTISSAS), dice.randint(I64_MIN, I64_MAX)))  # noqa: E731
            event_ns = dice.choice((dice.choice(times), recv - dice.randint(0, 10**7)))
            ident = dice.choice((dice.choice(IDS), dice.randint(0, U64_MAX)))
            aux = mantissa() if aux is None else aux
            marks = (int(flags), int(kind), ord(side))
            place = (event_ns, recv, number << 16 | index, ident)
            rows.append((*place, mantissa(), mantissa(), aux, 7, *marks))
            index += 1

        match dice.randrange(3):
            case 0:
                add(Kind.QUOTE, flags=0, side="B")
                add(Kind.QUOTE, flags=Flag.LAST, side="A")
            case 1:
                levels = dice.randrange(200) if dice.random() < 0.1 else dice.randrange(4)
                add(Kind.DEPTH_HEAD, flags=Flag.LAST if not levels else 0, aux=levels)
                for level in range(levels):
                    last = level == levels - 1
                    add(Kind.DEPTH, flags=Flag.LAST if last else 0, side=dice.choice("BA"))
            case _:
                kind = dice.choice(ALONE)
                aux = dice.randint(1, 7) | dice.randint(0, 255) << 8 if kind is Kind.GAP else None
                add(kind, flags=Flag.LAST, side=dice.choice("BAN"), aux=aux)
    events = np.array(rows, dtype=EVENT)
    return EventBatch.from_events(events.tobytes(), [(0, 0, len(events))])
