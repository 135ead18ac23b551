"""Market: one instrument out of ClickHouse: price, spread, depth, signals, fills, what is missing.

Rows are those of one node, so that two daemons which record one instrument do not double it. Tables
are ordered by (instrument, time): every question names both.
`market_sql.py` has the words with an @.
"""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row, sql_annotation, sql_variable
from dashboards.market_sql import rows, series, sql
from dashboards.vocabulary import (
    UNWANTED,
    PanelBuilder,
    candles,
    count,
    graph,
    listing,
    timeline,
)

_NAME: Final = "${__field.labels.name}"
_BOOK_STATES: Final = {
    0: ("init", "text"),
    1: ("buffering", "blue"),
    2: ("synced", "green"),
    3: ("GAP", "red"),
}


def board() -> Board:
    market = "SELECT DISTINCT venue FROM instruments ORDER BY venue"
    symbol = (
        "SELECT DISTINCT symbol FROM instruments WHERE venue = ${market:sqlstring} ORDER BY symbol"
    )
    return Board(
        name="market",
        title="tickd / Market",
        description="One instrument out of ClickHouse; gaps and audits are marked.",
        rows=[
            Row("Price", _price()),
            Row("Spread and depth", _depth()),
            Row("Signals", _signals()),
            Row("Our trading", _trading()),
            Row("What is recorded, and what is missing", _recorded()),
        ],
        variables=[
            sql_variable("node", "Node", "SELECT DISTINCT node FROM instruments ORDER BY node"),
            sql_variable("market", "Venue", market),
            sql_variable("symbol", "Symbol", symbol),
        ],
        annotations=[
            sql_annotation(
                "Gaps",
                sql(
                    "SELECT ts_event AS time, ts_recv AS timeEnd,"
                    " concat('gap: ', toString(cause), ', ',"
                    " if(missing = @undefined, 'number unknown', concat(toString(missing),"
                    " ' missing'))) AS text, 'gap' AS tags FROM gaps WHERE @scope AND @live"
                    " ORDER BY time LIMIT 500"
                ),
                "orange",
            ),
            sql_annotation(
                "Audit",
                sql(
                    "SELECT ts_recv AS time, concat(action, ' ', scope, ' ', key, ' by ', operator,"
                    " ': ', reason) AS text, 'audit' AS tags FROM audit"
                    " WHERE $__timeFilter_ms(ts_recv) AND node = ${node:raw}"
                    " ORDER BY time LIMIT 500"
                ),
                "red",
            ),
        ],
        sql=True,
        refresh="30s",
    )


def _price() -> list[PanelBuilder]:
    return [
        candles(
            "Price",
            "Bars of the venue's trades by its own time, made from bars of one second.",
            series(
                "SELECT $__timeInterval(second) AS time,"
                " argMinMerge(b.open) / intExp10(any(b.price_scale)) AS open,"
                " max(b.high) / intExp10(any(b.price_scale)) AS high,"
                " min(b.low) / intExp10(any(b.price_scale)) AS low,"
                " argMaxMerge(b.close) / intExp10(any(b.price_scale)) AS close,"
                " toFloat64(sum(b.volume)) / intExp10(any(b.size_scale)) AS volume"
                " FROM ohlcv_1s AS b WHERE $__timeFilter(second) AND node = ${node:raw}"
                " AND instrument IN @instruments @by_time"
            ),
        ),
        graph(
            "Best bid and ask",
            "The last of each interval, as received.",
            "locale",
            series(
                "SELECT @bucket, argMax(bid_price_f, seq) AS bid,"
                " argMax(ask_price_f, seq) AS ask"
                " FROM quotes WHERE @scope @by_time"
            ),
            floor=None,
        ),
        graph(
            "Volume by aggressor",
            "Bought upwards, sold downwards; what the venue does not say is left out.",
            "locale",
            series(
                "SELECT @bucket, sumIf(size_f, side = 'B') AS bought,"
                " sumIf(size_f, side = 'A') AS sold FROM trades WHERE @scope AND @live @by_time"
            ),
            negative="sold",
        ),
    ]


def _depth() -> list[PanelBuilder]:
    return [
        graph(
            "Spread",
            "Ask less bid, relative to the middle: median and largest of each interval.",
            "percentunit",
            series(
                "SELECT @bucket, median(relative) AS median, max(relative) AS largest FROM"
                " (SELECT ts_recv, 2 * (ask_price_f - bid_price_f) / (ask_price_f + bid_price_f)"
                " AS relative FROM quotes WHERE @scope) WHERE relative IS NOT NULL @by_time"
            ),
            width=8,
        ),
        graph(
            "Size at the touch",
            "Mean size at the best bid (upwards) and ask (downwards).",
            "locale",
            series(
                "SELECT @bucket, avg(bid_size_f) AS bid, avg(ask_size_f) AS ask"
                " FROM quotes WHERE @scope @by_time"
            ),
            negative="ask",
            width=8,
        ),
        graph(
            "Imbalance at the touch",
            "Bid size less ask size over their sum: +1 all bid, -1 all ask. Mean of each interval.",
            "percentunit",
            series(
                "SELECT @bucket, avg((bid_size_f - ask_size_f) / (bid_size_f + ask_size_f))"
                " AS imbalance FROM quotes WHERE @scope AND bid_size + ask_size > 0 @by_time"
            ),
            floor=None,
            width=8,
        ),
        graph(
            "Depth messages",
            "Messages, levels in them, and snapshots, per interval.",
            "short",
            series(
                "SELECT @bucket, count() AS messages,"
                " sum(length(bid_price) + length(ask_price)) AS levels,"
                " countIf(is_snapshot) AS snapshots FROM book WHERE @scope @by_time"
            ),
        ),
        listing(
            "Book at the end of the chosen time",
            "The last snapshot and every later message applied: ten levels a side, and their size "
            "summed up. Empty when the last snapshot is older than a day.",
            "locale",
            rows(
                "WITH (SELECT (seq, last_id) FROM book WHERE @book AND is_snapshot"
                " ORDER BY seq DESC LIMIT 1) AS snapshot"
                " SELECT toString(side) AS side, price, size, sum(size) OVER"
                " (PARTITION BY side ORDER BY position) AS cumulative FROM"
                " (SELECT side, price_f AS price, argMax(size_f, last_id) AS size,"
                " if(side = 'B', -price, price) AS position FROM book_levels"
                " WHERE @book AND (seq = snapshot.1 OR (last_id > snapshot.2"
                " AND last_id != @undefined AND NOT bitTest(flags, 5)))"
                " GROUP BY side, price HAVING size > 0 ORDER BY position LIMIT 10 BY side)"
                " ORDER BY side, position LIMIT 20"
            ),
            width=12,
        ),
    ]


def _family(title: str, description: str, condition: str, *, width: int = 12) -> PanelBuilder:
    return graph(
        title,
        description,
        "short",
        series(
            "SELECT @bucket, name, avg(value) AS value FROM signals_v"
            " WHERE @scope AND @condition GROUP BY time, name ORDER BY time, name".replace(
                "@condition", condition
            )
        ),
        floor=None,
        width=width,
        display=_NAME,
    )


def _signals() -> list[PanelBuilder]:
    return [
        _family(
            "Order flow imbalance",
            "Indicators `ofi`, `mlofi` and `integrated_ofi`: above 0 the bid side grows.",
            "kind IN ('ofi', 'mlofi', 'integrated_ofi')",
        ),
        _family(
            "Flow toxicity",
            "Indicators `vpin`, `vpin_fixed`, `vpin_bvc`: near 1 trading is one-sided.",
            "kind LIKE 'vpin%'",
        ),
        _family(
            "Intensity of trading",
            "Indicators `hawkes`, `hawkes_bivariate`: events per second that the model expects.",
            "kind LIKE 'hawkes%'",
        ),
        _family(
            "Other indicators",
            "All that are neither order flow, toxicity nor intensity, of `[[indicators]]`.",
            "kind NOT IN ('ofi', 'mlofi', 'integrated_ofi') AND kind NOT LIKE 'vpin%'"
            " AND kind NOT LIKE 'hawkes%'",
        ),
        listing(
            "Signals",
            "Each indicator: values in the chosen time, the last, the extremes.",
            "locale",
            rows(
                "SELECT name, kind, params, count() AS signals, argMax(value, seq) AS last,"
                " min(value) AS lowest, max(value) AS highest FROM signals_v WHERE @scope"
                " GROUP BY name, kind, params ORDER BY name LIMIT 100"
            ),
            height=6,
        ),
    ]


def _trading() -> list[PanelBuilder]:
    return [
        graph(
            "Our fills",
            "Prices at which our orders traded: mean of each interval and side.",
            "locale",
            series(
                "SELECT @bucket, avgIf(price_f, side = 'B') AS bought,"
                " avgIf(price_f, side = 'A') AS sold FROM fills WHERE @scope @by_time"
            ),
            floor=None,
            points=True,
        ),
        graph(
            "Our position from fills",
            "Net size of our fills since the beginning of the chosen time.",
            "locale",
            series(
                "SELECT time, sum(change) OVER (ORDER BY time) AS net FROM"
                " (SELECT @bucket, sum(if(side = 'B', size_f, -size_f)) AS change FROM fills"
                " WHERE @scope GROUP BY time) ORDER BY time"
            ),
            floor=None,
        ),
        listing(
            "Decisions of the gate",
            "By verdict and first reason, in the chosen time; docs/risk.md names the reasons.",
            "short",
            rows(
                "SELECT strategy, account, action, verdict, reason, count() AS decisions,"
                " max(ts_recv) AS last FROM risk_decisions WHERE @scope"
                " GROUP BY strategy, account, action, verdict, reason"
                " ORDER BY decisions DESC LIMIT 50"
            ),
            width=12,
        ),
        listing(
            "Last fills",
            "The newest first.",
            "locale",
            rows(
                "SELECT ts_recv, strategy, account, toString(side) AS side, price_f AS price,"
                " size_f AS size, fee_f AS fee, fee_currency, late"
                " FROM fills WHERE @scope ORDER BY seq DESC LIMIT 50"
            ),
            width=12,
        ),
        listing(
            "Nearest to a limit",
            "Approved orders by the share of a limit that they used; 1 is the limit itself.",
            "percentunit",
            rows(
                "SELECT figure, max(used) AS nearest, argMax(strategy, used) AS strategy,"
                " argMax(account, used) AS account, count() AS orders"
                " FROM near_misses WHERE @scope"
                " GROUP BY figure ORDER BY nearest DESC LIMIT 20"
            ),
            width=12,
        ),
        listing(
            "Audit",
            "Who stopped, armed, reloaded what; of the whole node.",
            "short",
            rows(
                "SELECT ts_recv, action, scope, key, operator, reason, source FROM audit"
                " WHERE $__timeFilter_ms(ts_recv) AND node = ${node:raw} ORDER BY seq DESC LIMIT 50"
            ),
            width=12,
        ),
    ]


def _recorded() -> list[PanelBuilder]:
    return [
        count(
            "Trades",
            "In the chosen time; what was fetched later is counted too.",
            rows("SELECT count() AS trades FROM trades WHERE @scope"),
        ),
        count(
            "Quotes",
            "Best bids and asks in the chosen time.",
            rows("SELECT count() AS quotes FROM quotes WHERE @scope"),
        ),
        count(
            "Gaps",
            "In the chosen time, as found.",
            rows("SELECT count() AS gaps FROM gaps WHERE @scope AND @live"),
            UNWANTED,
        ),
        graph(
            "Venue to socket",
            "Our time of receipt less the venue's time of trades: p50 and p99. Below 0, or in "
            "steps: a clock is off.",
            "s",
            series(
                "SELECT @bucket, quantile(0.5)(lag) AS p50, quantile(0.99)(lag) AS p99 FROM"
                " (SELECT ts_recv, (toUnixTimestamp64Nano(ts_recv)"
                " - toUnixTimestamp64Nano(ts_event))"
                " / 1e9 AS lag FROM trades WHERE @scope AND @live) @by_time"
            ),
            floor=None,
        ),
        timeline(
            "State of the book",
            "What the synchroniser concluded; only a synced book can be trusted.",
            _BOOK_STATES,
            series(
                "SELECT ts_recv AS time, state FROM states WHERE @scope AND kind = 'book'"
                " ORDER BY seq LIMIT 5000"
            ),
            height=5,
        ),
        listing(
            "Gaps",
            "What is missing, from when to when, why, and whether it was closed.",
            "short",
            rows(
                "SELECT ts_event AS begin, ts_recv AS end, toString(cause) AS cause, channel,"
                " nullIf(from_id, @undefined) AS first,"
                " nullIf(to_id, @undefined) AS last,"
                " nullIf(missing, @undefined) AS missing, duration_s,"
                " bitTest(flags, 10) AS closed FROM gaps WHERE @scope ORDER BY seq DESC LIMIT 100"
            ),
        ),
        listing(
            "Gaps that are open",
            "Of trades with known ids, that nothing has closed: of all instruments of the node.",
            "short",
            rows(
                "SELECT ts_recv, venue, symbol, toString(cause) AS cause, from_id, to_id, missing,"
                " open_s FROM gaps_open_v WHERE $__timeFilter_ms(ts_recv) AND node = ${node:raw}"
                " ORDER BY seq DESC LIMIT 100"
            ),
            width=12,
        ),
        listing(
            "Topics furthest behind",
            "Largest age of the oldest waiting event, per topic of this symbol, over all queues.",
            "s",
            rows(
                "SELECT topic, max(oldest_age_s) AS oldest, max(high_water) AS high_water,"
                " max(dropped) AS dropped, max(events) AS events FROM topic_lag"
                " WHERE $__timeFilter_ms(ts) AND node = ${node:raw}"
                " AND endsWith(topic, concat(${market:sqlstring}, '.', ${symbol:sqlstring}))"
                " GROUP BY topic ORDER BY oldest DESC LIMIT 20"
            ),
            width=12,
        ),
    ]


__all__ = ["board"]
