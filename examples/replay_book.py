"""Replay a raw log through the order book: python examples/replay_book.py STATE_DIR [SYMBOL]."""

import json
import sys
from pathlib import Path

from tickd.events import BookState
from tickd.native import Decoder, L2Book, RawLogReader
from tickd.units import mantissa_to_text


def main() -> None:
    """Print the best five levels of a symbol as they were at the end of the log."""
    state_dir, wanted = Path(sys.argv[1]), sys.argv[2:3]
    decoder = Decoder()
    book: L2Book | None = None
    scales: dict[str, int] = {}
    messages = 0
    for _, chunk in RawLogReader(str(state_dir / "raw")):
        batch = decoder.decode(chunk)
        if book is None:
            # Definitions precede the events that use them; take the first instrument that fits.
            for number, text in decoder.instruments():
                instrument = json.loads(text)
                if not wanted or instrument["symbol"] in wanted:
                    book, scales = L2Book(instrument["venue"], number), instrument
                    break
        if book is not None:
            messages += book.apply(batch)
    if book is None:
        sys.exit(f"no instrument {' '.join(wanted)} in this log")
    # The book says itself whether it can be trusted: only SYNCED follows the venue's rules whole.
    print(f"{scales['symbol']}: {messages:,} depth messages, {BookState(book.state).name}")
    bids, asks = book.top(5)
    for (bid, bid_size), (ask, ask_size) in zip(bids, asks, strict=False):
        # Prices and sizes are integers in the instrument's scale: exact, and text when shown.
        print(
            f"{mantissa_to_text(bid_size, scales['size_scale']):>14}"
            f"{mantissa_to_text(bid, scales['price_scale']):>14}"
            f"{mantissa_to_text(ask, scales['price_scale']):>14}"
            f"{mantissa_to_text(ask_size, scales['size_scale']):>14}"
        )


if __name__ == "__main__":
    main()
