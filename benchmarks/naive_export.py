"""What `bench_export.py` compares with: rows as dictionaries, then pandas or the csv module.

Run: python benchmarks/naive_export.py STATE_DIR parquet|csv OUT_DIR
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tickd.events import EVENT, Kind, Side, as_array
from tickd.native import Decoder, RawLogReader


def rows(state: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Trades and quotes, one dictionary each."""
    decoder, instruments, bid = Decoder(), {}, {}
    for _, chunk in RawLogReader(str(state / "raw")):
        batch = decoder.decode(chunk)
        if not instruments or b'"instrument"' in chunk:
            instruments = {number: json.loads(text) for number, text in decoder.instruments()}
        for values in as_array(batch).tolist():
            event = dict(zip(EVENT.names or (), values, strict=True))
            if event["kind"] not in (Kind.TRADE, Kind.QUOTE):
                continue
            known = instruments[event["instrument"]]
            price = Decimal(event["price"]).scaleb(-known["price_scale"])
            size = Decimal(event["size"]).scaleb(-known["size_scale"])
            row = {
                "seq": event["seq"],
                "ts_recv": event["ts_recv"],
                "ts_event": datetime.fromtimestamp(event["ts_event"] / 1e9, UTC),
                "symbol": known["symbol"],
                "id": event["id"],
            }
            if event["kind"] == Kind.TRADE:
                side = chr(event["side"])
                yield "trades", row | {"price": price, "size": size, "side": side}
            elif event["side"] == Side.BID:
                bid = row | {"bid_price": price, "bid_size": size}
            else:
                yield "quotes", bid | {"ask_price": price, "ask_size": size}


def main() -> None:
    state, name, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    counts: dict[str, int] = {"trades": 0, "quotes": 0}
    if name == "parquet":
        import pandas as pd  # noqa: PLC0415 - only this case pays for it

        tables: dict[str, list[dict[str, Any]]] = {"trades": [], "quotes": []}
        for table, row in rows(state):
            tables[table].append(row)
        for table, found in tables.items():
            counts[table] = len(found)
            pd.DataFrame(found).to_parquet(out / f"{table}.parquet", compression="zstd")
    else:
        files = {table: (out / f"{table}.csv").open("w", newline="") for table in counts}
        writers: dict[str, csv.DictWriter[str]] = {}
        for table, row in rows(state):
            counts[table] += 1
            if table not in writers:
                writers[table] = csv.DictWriter(files[table], list(row))
                writers[table].writeheader()
            writers[table].writerow(row)
        for file in files.values():
            file.close()
    (out / "manifest.json").write_text(json.dumps({"rows": counts}))


if __name__ == "__main__":
    main()
