"""Ask the configured ClickHouse: python examples/query_clickhouse.py CONFIG."""

import asyncio
import json
import sys
from pathlib import Path

from recorder.clickhouse.query import OutputFormat, connect, query
from tickd.app.config import load_config

BARS = """
    SELECT symbol, toStartOfSecond(ts_recv) AS second,
           argMin(price_f, (ts_recv, seq)) AS open, max(price_f) AS high,
           min(price_f) AS low, argMax(price_f, (ts_recv, seq)) AS close, sum(size_f) AS volume
    FROM trades WHERE symbol = {symbol:String}
    GROUP BY symbol, second ORDER BY second DESC LIMIT 5
"""


async def main() -> None:
    """One-second bars of the busiest symbol."""
    config = load_config(Path(sys.argv[1]))
    # The embedded server of a running daemon is shared; without one it is started for the block.
    async with connect(config.clickhouse, directory=config.state_dir / "clickhouse") as server:

        async def rows(sql: str, **parameters: object) -> list[dict[str, object]]:
            pieces = query(server, sql, output=OutputFormat.JSON, parameters=parameters)
            text = b"".join([piece async for piece in pieces])
            return [json.loads(line) for line in text.splitlines()]

        (busiest,) = await rows(
            "SELECT symbol, count() AS n FROM trades GROUP BY symbol ORDER BY n DESC LIMIT 1"
        )
        for bar in await rows(BARS, symbol=busiest["symbol"]):
            print(bar)


if __name__ == "__main__":
    asyncio.run(main())
