//! What indicators take of a strategy's views: natural values, and the venue's time, else the time of receipt.

use pyo3::prelude::*;
use tickd_core::event::{side, Event, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF};
use tickd_core::indicators::{Quote, Trade};

use crate::view_reuse::{natural, View};
use crate::views;

fn time(event: &Event) -> i64 {
    if event.ts_event == TS_UNDEF {
        event.ts_recv
    } else {
        event.ts_event
    }
}

/// The quote of a view and its time. A side that was never said is a missing one.
pub fn quote(view: &Bound<'_, views::Quote>) -> (Quote, i64) {
    let (py, shown) = (view.py(), view.get().shown());
    let ((bid, ask), scales) = (shown.get(py), shown.scales(py));
    let best = |event: &Event| {
        if event.price == PRICE_UNDEF || event.size == SIZE_UNDEF {
            return (0.0, 0.0);
        }
        (natural(event.price, scales.price), natural(event.size, scales.size))
    };
    let ((bid_price, bid_size), (ask_price, ask_size)) = (best(&bid), best(&ask));
    let quote = Quote {
        bid_price,
        bid_size,
        ask_price,
        ask_size,
    };
    (quote, time(&ask))
}

/// The trade of a view and its time.
pub fn trade(view: &Bound<'_, views::Trade>) -> (Trade, i64) {
    let (py, shown) = (view.py(), view.get().shown());
    let (event, scales) = (shown.get(py), shown.scales(py));
    let trade = Trade {
        price: natural(event.price, scales.price),
        size: natural(event.size, scales.size),
        side: match event.side {
            side::BID => 1.0,
            side::ASK => -1.0,
            _ => 0.0,
        },
    };
    (trade, time(&event))
}
