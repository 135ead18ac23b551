"""Export trades to Parquet and read them back: python examples/export_trades.py STATE_DIR."""

import asyncio
import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from backtest.export.formats.registry import find
from backtest.export.run import Report, Request, run_export
from recorder.raw.log_rows import LogRows


async def export(state_dir: Path, out: Path) -> Report:
    """Write the trades of all instruments to `out`; the command is `tickd export`."""
    source = LogRows(state_dir / "raw")
    request = Request(patterns=("trade.*.*",), from_ns=None, to_ns=None, out=out)
    return await run_export(source, find("parquet"), request)


def main() -> None:
    """Say what was written, and per symbol the exact turnover and the longest way here."""
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(export(Path(sys.argv[1]), Path(folder) / "trades.parquet"))
        print(f"{report.rows['trades']:,} trades, content hash {report.hash}")
        for gap in report.gaps:
            print(f"missing: {gap.topic}, {gap.cause}")
        trades = pq.read_table(Path(folder) / report.files[0].name)
    for symbol in trades["symbol"].unique().to_pylist():
        own = trades.filter(pc.equal(trades["symbol"], symbol))
        # Decimals stay decimals: no digit is lost on the way to the sum.
        turnover = sum(
            p * s
            for p, s in zip(*(own[name].to_pylist() for name in ("price", "size")), strict=True)
        )
        late = pc.max(pc.subtract(own["ts_recv"], own["ts_event"]).cast("int64")).as_py() or 0
        print(
            f"{symbol}: {len(own):,} trades, turnover {turnover}, at most {late / 1e6:.3f} ms late"
        )


if __name__ == "__main__":
    main()
