"""Read a raw log into one numpy array: python examples/read_raw_log.py STATE_DIR."""

import sys
from pathlib import Path

import numpy as np

from tickd.events import EVENT, PRICE_UNDEF, Kind, as_array
from tickd.native import Decoder, RawLogReader


def read(state_dir: Path) -> np.ndarray:
    """All events of the log, in the order in which they happened to this daemon."""
    decoder = Decoder()
    # A chunk is a stretch of whole records; the decoder turns it into one batch of events.
    batches = [decoder.decode(chunk) for _, chunk in RawLogReader(str(state_dir / "raw"))]
    events = np.concatenate([as_array(batch) for batch in batches] or [np.empty(0, EVENT)])
    # Inside a batch events are grouped by topic; `seq` is their order.
    return events[np.argsort(events["seq"], kind="stable")]


def main() -> None:
    """Count the events by kind, and say how late they came."""
    events = read(Path(sys.argv[1]))
    print(f"{len(events):,} events, {events.nbytes:,} bytes")
    for kind, count in zip(*np.unique(events["kind"], return_counts=True), strict=True):
        print(f"{Kind(kind).name:<12} {count:>10,}")
    trades = events[(events["kind"] == Kind.TRADE) & (events["price"] != PRICE_UNDEF)]
    if len(trades):
        late_ms = (trades["ts_recv"] - trades["ts_event"]) / 1e6
        print(f"trades: median {np.median(late_ms):.3f} ms behind the venue's stamp")


if __name__ == "__main__":
    main()
