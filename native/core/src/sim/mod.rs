//! A simulated Binance market: order books that live, and the messages the venue would send about them.
//!
//! Deterministic by seed, whatever the steps of time; no clock, no sockets. Symbols are active by Zipf's law, events excite
//! each other (Hawkes), the order flow is zero-intelligence with power laws for size and distance.

pub mod arrivals;
pub mod book;
pub mod faults;
pub mod hub;
pub mod listing;
pub mod mix;
pub mod past;
pub mod random;
pub mod wire;

use arrivals::{Arrivals, Shape};
use book::{Book, Flow, Pending, Side};
use hub::Hub;
pub use listing::{Listing, MarketKind};
use mix::{Cuts, FILLS_MAX};
use past::Past;
use random::Random;
use wire::{Fill, Stream, Wire, DEPTHS, STREAMS};

use crate::error::{Error, Reason, Result};

const NS_PER_MS: i64 = 1_000_000;
/// One order in this many is a liquidation.
const LIQUIDATION_ODDS: u64 = 4096;
/// Distinct levels that trades and quotes touch between two depth messages, at the default mix (measured).
const TOP_LEVELS_MEAN: f64 = 1.7;
/// Where the ids of a market begin: as long as the real ones.
const FIRST_UPDATE_ID: u64 = 5_000_000_000_000;
const FIRST_TRADE_ID: u64 = 5_000_000_000;

/// What a market is made from.
#[derive(Debug, Clone)]
pub struct MarketConfig {
    /// Which market.
    pub kind: MarketKind,
    /// The symbols, the busiest first.
    pub symbols: Vec<String>,
    /// Same seed, same bytes.
    pub seed: u64,
    /// When simulated time begins, ns since the epoch.
    pub start_ns: i64,
    /// Messages per second over `trade`, `bookTicker` and `depth@0ms` of all symbols.
    pub rate: f64,
    /// Shares of quote, trade and depth messages, in any unit.
    pub mix: [f64; 3],
    /// Mean levels of a `depth@0ms` message.
    pub depth_levels: f64,
    /// Exponent of Zipf's law over the symbols; 0 = all alike.
    pub zipf: f64,
    /// Mean children of an event, `0 <= branching < 1`.
    pub branching: f64,
    /// How fast excitement decays, 1/s.
    pub decay_per_s: f64,
    /// Keep lines for a sent-log.
    pub log: bool,
}

#[derive(Debug, Clone)]
struct Symbol {
    listing: Listing,
    wire: Wire,
    book: Book,
    last_id: u64,
    trade_id: u64,
    aggregate_id: u64,
    past: Past,
    pending: [Option<Box<Pending>>; DEPTHS.len()],
}

/// The market.
#[derive(Debug, Clone)]
pub struct Market {
    kind: MarketKind,
    symbols: Vec<Symbol>,
    hub: Hub,
    arrivals: Arrivals,
    random: Random,
    flow: Flow,
    cuts: Cuts,
    deep_changes_max: u64, // a depth event makes 1 ..= this many changes behind the top
    update_id: u64,        // last id of the space that futures share
    now_ns: i64,
    tick_ns: i64, // next whole millisecond
}

impl Market {
    /// Errors: `Malformed` symbol, `NotANumber` for a rate, mix or shape that cannot be simulated, `TooLarge` above 4096
    /// symbols.
    pub fn new(config: &MarketConfig) -> Result<Self> {
        let sane = config.rate.is_finite()
            && config.rate > 0.0
            && (0.0..1.0).contains(&config.branching)
            && config.decay_per_s.is_finite()
            && config.decay_per_s > 0.0
            && (0.0..=10.0).contains(&config.zipf)
            && (1.0..=1000.0).contains(&config.depth_levels);
        if !sane || config.symbols.is_empty() || config.start_ns <= 0 {
            return Err(Error::new(Reason::NotANumber, 0));
        }
        if config.symbols.len() > 4096 {
            return Err(Error::new(Reason::TooLarge, 0));
        }
        let cuts = Cuts::new(config.mix)?;
        let mut random = Random::new(config.seed);
        let flow = Flow::default();
        let mut symbols = Vec::with_capacity(config.symbols.len());
        for (position, name) in config.symbols.iter().enumerate() {
            let listing = Listing::new(config.kind, name)?;
            symbols.push(Symbol {
                wire: Wire::new(config.kind, &listing),
                book: Book::new(&flow, &mut random),
                last_id: FIRST_UPDATE_ID + position as u64,
                trade_id: FIRST_TRADE_ID,
                aggregate_id: FIRST_TRADE_ID / 3,
                past: Past::default(),
                pending: Default::default(),
                listing,
            });
        }
        let names = symbols.iter().flat_map(|symbol| {
            Stream::ALL
                .iter()
                .map(|stream| stream.name(config.kind, &symbol.listing).unwrap_or_default())
        });
        let hub = Hub::new(names.collect(), config.log);
        let shape = Shape {
            branching: config.branching,
            decay_per_s: config.decay_per_s,
        };
        let per_s = config.rate * cuts.per_message;
        let arrivals = Arrivals::new(symbols.len(), config.zipf, per_s, shape, config.start_ns, &mut random);
        Ok(Market {
            kind: config.kind,
            hub,
            arrivals,
            random,
            flow,
            cuts,
            deep_changes_max: (2.0 * (config.depth_levels - TOP_LEVELS_MEAN).max(1.0)).round() as u64 - 1,
            update_id: FIRST_UPDATE_ID + symbols.len() as u64,
            symbols,
            now_ns: config.start_ns,
            tick_ns: (config.start_ns / NS_PER_MS + 1) * NS_PER_MS,
        })
    }

    /// Simulated time, ns.
    pub fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// The connections and what they are to get.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }
    /// The same, to take from it.
    pub fn hub_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }

    /// The symbols, the busiest first.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().map(|symbol| symbol.listing.symbol.as_str())
    }

    /// Subscribes a connection; false when the market has no such stream.
    pub fn subscribe(&mut self, connection: u32, stream: &str, combined: bool) -> bool {
        let Some(slot) = self.hub.find(stream) else {
            return false;
        };
        let fresh = !self.hub.is_wanted(slot);
        self.hub.subscribe(connection, slot, combined);
        if fresh {
            self.listen(slot, true);
        }
        true
    }

    /// Whether the connection had the stream, which it now has not.
    pub fn unsubscribe(&mut self, connection: u32, stream: &str) -> bool {
        let Some(slot) = self.hub.find(stream) else {
            return false;
        };
        let had = self.hub.unsubscribe(connection, slot);
        if had && !self.hub.is_wanted(slot) {
            self.listen(slot, false);
        }
        had
    }

    /// Forgets a connection.
    pub fn drop_connection(&mut self, connection: u32) {
        for slot in self.hub.drop_connection(connection) {
            if !self.hub.is_wanted(slot) {
                self.listen(slot, false);
            }
        }
    }

    /// Depth streams note changes only while somebody listens.
    fn listen(&mut self, slot: usize, on: bool) {
        let Some(window) = DEPTHS.iter().position(|stream| *stream as usize == slot % STREAMS) else {
            return;
        };
        if let Some(symbol) = self.symbols.get_mut(slot / STREAMS) {
            if let Some(pending) = symbol.pending.get_mut(window) {
                *pending = on.then(|| Box::new(Pending::new(symbol.last_id)));
            }
        }
    }

    /// From now on `rate` messages per second. Errors: `NotANumber`.
    pub fn set_rate(&mut self, rate: f64) -> Result<()> {
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Error::new(Reason::NotANumber, 0));
        }
        self.arrivals.set_rate(rate * self.cuts.per_message);
        Ok(())
    }

    /// Leaps to `now_ns` as if the time between had not been: nothing happens in it. Never goes back.
    pub fn leap(&mut self, now_ns: i64) {
        if now_ns > self.now_ns {
            self.arrivals.shift(now_ns - self.now_ns);
            self.now_ns = now_ns;
            self.tick_ns = (now_ns / NS_PER_MS + 1) * NS_PER_MS;
        }
    }

    /// Lets everything happen up to and including `until_ns`: the messages made.
    pub fn advance(&mut self, until_ns: i64) -> u64 {
        let before = self.hub.messages();
        loop {
            let next = self.arrivals.next_ns();
            if next.min(self.tick_ns) > until_ns {
                break;
            }
            if self.tick_ns <= next {
                self.now_ns = self.tick_ns;
                self.tick_ns += NS_PER_MS;
                self.on_millisecond();
            } else {
                self.now_ns = next;
                self.on_event();
            }
        }
        self.now_ns = self.now_ns.max(until_ns);
        self.hub.messages() - before
    }

    #[inline]
    fn on_event(&mut self) {
        let Some(symbol) = self.arrivals.take(&mut self.random) else {
            return;
        };
        let pick = self.random.bits() >> 32;
        if pick < self.cuts.order {
            self.on_order(symbol);
        } else if pick < self.cuts.quote {
            self.on_quote(symbol);
        } else {
            self.on_depth(symbol);
        }
    }

    /// Notes one change of the book: its update id.
    #[inline]
    fn changed(kind: MarketKind, update_id: &mut u64, symbol: &mut Symbol, side: Side, index: usize) {
        symbol.last_id = if kind == MarketKind::Spot {
            symbol.last_id + 1
        } else {
            *update_id += 1;
            *update_id
        };
        for pending in symbol.pending.iter_mut().flatten() {
            pending.mark(side, index, symbol.last_id);
        }
    }

    fn on_quote(&mut self, position: usize) {
        let Some(symbol) = self.symbols.get_mut(position) else {
            return;
        };
        let (side, index) = symbol.book.change_top(&self.flow, &mut self.random);
        Self::changed(self.kind, &mut self.update_id, symbol, side, index);
        self.send_quote(position);
    }

    #[inline]
    fn send_quote(&mut self, position: usize) {
        let slot = position * STREAMS + Stream::Quote as usize;
        let (Some(symbol), true) = (self.symbols.get(position), self.hub.is_wanted(slot)) else {
            return;
        };
        let (id, now) = (symbol.last_id, self.now_ns);
        self.hub.send(slot, (id, id), now, |out, skew| {
            symbol
                .wire
                .quote(out, &symbol.listing, &symbol.book, id, now / NS_PER_MS + skew);
        });
    }

    /// A market order: one to eight fills, from the best level on.
    fn on_order(&mut self, position: usize) {
        let Some(symbol) = self.symbols.get_mut(position) else {
            return;
        };
        let bits = self.random.bits();
        let seller = !symbol.book.upwards(bits as u32);
        let side = if seller { Side::Bid } else { Side::Ask };
        let now = self.now_ns;
        let mut aggregate: Option<Fill> = None;
        for fill_number in 1..=FILLS_MAX {
            let fill_bits = self.random.bits();
            let index = symbol.book.best(side);
            let lots = self.flow.fill_size(fill_bits).min(symbol.book.size(index));
            symbol.book.consume(side, lots);
            Self::changed(self.kind, &mut self.update_id, symbol, side, index);
            symbol.trade_id += 1;
            let id = symbol.trade_id;
            let fill = Fill {
                id,
                trades: (id, id),
                index,
                lots,
                seller,
                time_ms: now / NS_PER_MS,
            };
            symbol.past.note(fill);
            let slot = position * STREAMS + Stream::Trade as usize;
            if self.hub.is_wanted(slot) {
                self.hub.send(slot, (id, id), now, |out, skew| {
                    symbol.wire.trade(
                        out,
                        &symbol.listing,
                        &Fill {
                            time_ms: fill.time_ms + skew,
                            ..fill
                        },
                    );
                });
            }
            aggregate = Some(match aggregate {
                Some(known) if known.index == index => Fill {
                    lots: known.lots + lots,
                    trades: (known.trades.0, id),
                    ..known
                },
                Some(known) => {
                    Self::send_aggregate(&mut self.hub, position, symbol, known, now);
                    fill
                }
                None => fill,
            });
            if (fill_bits >> 20) & 3 != 0 || fill_number == FILLS_MAX {
                break;
            }
        }
        if let Some(fill) = aggregate {
            Self::send_aggregate(&mut self.hub, position, symbol, fill, now);
            let slot = position * STREAMS + Stream::Liquidation as usize;
            if (bits >> 32) % LIQUIDATION_ODDS == 0 && self.hub.is_wanted(slot) {
                self.hub.send(slot, fill.trades, now, |out, skew| {
                    symbol.wire.liquidation(
                        out,
                        &symbol.listing,
                        &Fill {
                            time_ms: fill.time_ms + skew,
                            ..fill
                        },
                    );
                });
            }
        }
        if self.random.bits() >> 32 < self.cuts.quote_after_order {
            self.send_quote(position);
        }
    }

    fn send_aggregate(hub: &mut Hub, position: usize, symbol: &mut Symbol, fill: Fill, now: i64) {
        symbol.aggregate_id += 1;
        let id = symbol.aggregate_id;
        let slot = position * STREAMS + Stream::AggTrade as usize;
        if hub.is_wanted(slot) {
            hub.send(slot, (id, id), now, |out, skew| {
                let fill = Fill {
                    id,
                    time_ms: fill.time_ms + skew,
                    ..fill
                };
                symbol.wire.agg_trade(out, &symbol.listing, &fill);
            });
        }
    }

    /// Orders and cancellations behind the top; then the unthrottled depth stream speaks.
    fn on_depth(&mut self, position: usize) {
        let Some(symbol) = self.symbols.get_mut(position) else {
            return;
        };
        for _ in 0..1 + (self.random.bits() >> 33) % self.deep_changes_max {
            if let Some((side, index)) = symbol.book.change_depth(&self.flow, &mut self.random) {
                Self::changed(self.kind, &mut self.update_id, symbol, side, index);
            }
        }
        self.send_depth(position, 0);
    }

    #[inline]
    fn send_depth(&mut self, position: usize, window: usize) {
        let Some(symbol) = self.symbols.get_mut(position) else {
            return;
        };
        let Some(stream) = DEPTHS.get(window) else { return };
        let Some(Some(pending)) = symbol.pending.get_mut(window) else {
            return;
        };
        if pending.first_id == 0 {
            return;
        }
        let (id, now) = (symbol.last_id, self.now_ns);
        let slot = position * STREAMS + *stream as usize;
        self.hub.send(slot, (pending.first_id, id), now, |out, skew| {
            let at = (&symbol.listing, &symbol.book);
            symbol.wire.depth(out, *stream, at, pending, id, now / NS_PER_MS + skew);
        });
        pending.clear(id);
    }

    /// Streams that speak at intervals: each symbol at its own phase, as not to speak all at once.
    fn on_millisecond(&mut self) {
        let count = self.symbols.len();
        let now_ms = self.now_ns / NS_PER_MS;
        let due = |period_ms: i64| (now_ms.rem_euclid(period_ms) as usize..count).step_by(period_ms as usize);
        for (window, period_ms) in [(1, 100), (2, 250), (3, 500), (4, 1000)] {
            for position in due(period_ms) {
                self.send_depth(position, window);
            }
        }
        for (stream, period_ms) in [(Stream::Mark1, 1000), (Stream::Index1, 1000), (Stream::Mark3, 3000)] {
            for position in due(period_ms) {
                self.send_mark(position, stream);
            }
        }
    }

    fn send_mark(&mut self, position: usize, stream: Stream) {
        let slot = position * STREAMS + stream as usize;
        let (Some(symbol), true) = (self.symbols.get(position), self.hub.is_wanted(slot)) else {
            return;
        };
        let now = self.now_ns;
        self.hub.send(slot, (0, 0), now, |out, skew| {
            symbol
                .wire
                .mark(out, stream, &symbol.listing, &symbol.book, now / NS_PER_MS + skew);
        });
    }

    /// The REST reply `depth` as of now; none for an unknown symbol.
    pub fn snapshot(&self, symbol: &str, limit: usize) -> Option<Vec<u8>> {
        let symbol = self.symbols.iter().find(|known| known.listing.symbol == symbol)?;
        let time_ms = self.now_ns / NS_PER_MS;
        Some(
            symbol
                .wire
                .snapshot(&symbol.listing, &symbol.book, limit, symbol.last_id, time_ms),
        )
    }

    /// The REST reply `exchangeInfo`.
    pub fn exchange_info(&self) -> Vec<u8> {
        let listings = self.symbols.iter().map(|symbol| &symbol.listing);
        listing::exchange_info(self.kind, listings, self.now_ns / NS_PER_MS)
    }

    /// Messages made per kind of stream: (the name behind the symbol, count).
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        let sent = |stream: Stream| {
            let slots = (0..self.symbols.len()).map(move |position| position * STREAMS + stream as usize);
            slots.map(|slot| self.hub.sent(slot)).sum()
        };
        Stream::ALL
            .iter()
            .filter_map(|stream| Some((stream.suffix(self.kind)?, sent(*stream))))
            .collect()
    }
}
