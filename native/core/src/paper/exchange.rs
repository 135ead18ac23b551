//! The venue as a whole: what arrives when, the instruments, and the batches of the market.
//!
//! While nothing of ours is in an instrument its events cost a look at their kind; quotes are kept of every instrument and
//! books of those that are followed, so that an order meets a market it can see.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use crate::batch::Batch;
use crate::decode::venues;
use crate::event::{flag, Event, Kind};
use crate::instrument::Instrument;
use crate::last_values::IdHasher;
use crate::paper::config::Config;
use crate::paper::contract::Contract;
use crate::paper::latency::{draw, hits, sample, Purpose};
use crate::paper::listing::{no_such_order, refuse, Listing};
use crate::paper::market::is_depth;
use crate::paper::order::{New, OrderView};
use crate::paper::report::{Desk, Execution, Reason, Report, ReportKind};
use crate::paper::requests::{Request, Requests, What};

/// Instruments that are kept at most: 16,384, as last values are.
pub const INSTRUMENTS_MAX: usize = 1 << 14;
/// Requests under way per order that may be open.
const REQUESTS_PER_ORDER: usize = 4;

/// Why a request did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// An order with this number is there.
    Duplicate,
    /// Too many requests are under way.
    Full,
    /// More instruments than there is room for, or a definition without terms.
    Instrument,
}

/// Where an order of ours is, from its sending to its end.
#[derive(Debug, Clone, Copy)]
struct Known {
    listing: u32,
    /// Requests sent for it: numbers its draws.
    asked: u32,
}

/// The exchange.
#[derive(Debug, Clone)]
pub struct Exchange {
    config: Config,
    now: i64,
    listings: Vec<Listing>,
    index: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
    /// The instrument of the event before and its place: most events come in runs.
    recent: (u32, u32),
    /// Places of the listings whose events are taken in order.
    live: Vec<u32>,
    /// Whether any book is followed.
    follows: bool,
    known: BTreeMap<u64, Known>,
    /// New orders on their way.
    coming: usize,
    requests: Requests,
    desk: Desk,
    venue_id: u64,
    refused: u64,
}

impl Exchange {
    /// One without instruments, at the beginning of time.
    pub fn new(config: Config) -> Self {
        Exchange {
            config,
            now: 0,
            listings: Vec::new(),
            index: HashMap::default(),
            recent: (0, 0),
            live: Vec::new(),
            follows: false,
            known: BTreeMap::new(),
            coming: 0,
            requests: Requests::default(),
            desk: Desk::default(),
            venue_id: 0,
            refused: 0,
        }
    }

    /// Gives an instrument its terms; `follow`: its book is kept from now on.
    ///
    /// Errors: `Instrument`.
    pub fn define(&mut self, instrument: u32, definition: &Instrument, follow: bool) -> Result<(), Refused> {
        let contract = Contract::of(definition).ok_or(Refused::Instrument)?;
        let at = self.place(instrument).ok_or(Refused::Instrument)?;
        let rule = venues::number(&definition.venue)
            .and_then(venues::decoder)
            .map(|decoder| decoder.rule());
        let listing = self.listings.get_mut(at as usize).ok_or(Refused::Instrument)?;
        listing.contract = Some(contract);
        if let Some(rule) = rule.filter(|_| follow) {
            listing.market.follow(rule);
            self.follows = true;
        }
        Ok(())
    }

    /// Takes over what an account holds from earlier lives, so that it can be reduced. Errors: `Instrument`.
    pub fn hold(&mut self, instrument: u32, size: i64) -> Result<(), Refused> {
        let at = self.place(instrument).ok_or(Refused::Instrument)?;
        let listing = self.listings.get_mut(at as usize);
        listing.map(|listing| listing.hold(size)).ok_or(Refused::Instrument)
    }

    /// The place of an instrument, which is given one at first sight.
    #[inline]
    fn place(&mut self, instrument: u32) -> Option<u32> {
        if self.recent.0 == instrument && instrument != 0 {
            return Some(self.recent.1);
        }
        self.find_place(instrument)
    }

    fn find_place(&mut self, instrument: u32) -> Option<u32> {
        let at = match self.index.get(&instrument) {
            Some(at) => *at,
            None if self.listings.len() >= INSTRUMENTS_MAX => {
                self.refused += 1;
                return None;
            }
            None => {
                let at = self.listings.len() as u32;
                self.listings.push(Listing::new(instrument));
                self.index.insert(instrument, at);
                at
            }
        };
        self.recent = (instrument, at);
        Some(at)
    }

    fn is_live(&self, instrument: u32) -> bool {
        let at = self.index.get(&instrument);
        let listing = at.and_then(|at| self.listings.get(*at as usize));
        listing.is_some_and(|listing| listing.is_live)
    }

    /// Sends a new order at `now`.
    ///
    /// Errors: `Duplicate`, `Full`, `Instrument`; nothing has left then.
    pub fn submit(&mut self, new: &New, now: i64) -> Result<(), Refused> {
        self.advance(now);
        if self.known.contains_key(&new.number) {
            return Err(Refused::Duplicate);
        }
        let listing = self.place(new.instrument).ok_or(Refused::Instrument)?;
        self.ask(new.number, Known { listing, asked: 0 }, What::New(*new))
    }

    /// Sends a cancel at `now`. Errors: `Full`.
    pub fn cancel(&mut self, number: u64, now: i64) -> Result<(), Refused> {
        self.advance(now);
        let known = self.of(number);
        self.ask(number, known, What::Cancel)
    }

    /// Sends another price and whole size at `now`. Errors: `Full`.
    pub fn replace(&mut self, number: u64, price: i64, size: i64, now: i64) -> Result<(), Refused> {
        self.advance(now);
        let known = self.of(number);
        self.ask(number, known, What::Replace(price, size))
    }

    fn of(&self, number: u64) -> Known {
        let nowhere = Known {
            listing: u32::MAX,
            asked: 0,
        };
        self.known.get(&number).copied().unwrap_or(nowhere)
    }

    fn ask(&mut self, number: u64, known: Known, what: What) -> Result<(), Refused> {
        if self.requests.count() >= self.config.open_orders_max.saturating_mul(REQUESTS_PER_ORDER) {
            return Err(Refused::Full);
        }
        let (seed, asked) = (self.config.seed, known.asked);
        if let Some(known) = self.known.get_mut(&number) {
            known.asked += 1;
        }
        let bits = draw(seed, number, Purpose::LostRequest, asked);
        if hits(bits, self.config.faults.lost_request_ppm) {
            return Ok(());
        }
        if matches!(what, What::New(_)) {
            self.known.insert(number, Known { asked: 1, ..known });
            self.coming += 1;
        }
        let way = sample(&self.config.entry_ns, draw(seed, number, Purpose::Entry, 0));
        self.requests
            .push(self.now.saturating_add(way), number, known.listing, what);
        if let Some(listing) = self.listings.get_mut(known.listing as usize) {
            listing.asked += 1;
            if !std::mem::replace(&mut listing.is_live, true) {
                self.live.push(known.listing);
            }
        }
        Ok(())
    }

    /// Lets time pass up to `now`: what arrives at the venue by then meets the market as it is known. Never backwards.
    pub fn advance(&mut self, now: i64) {
        self.arrive(now);
        self.now = self.now.max(now);
    }

    fn arrive(&mut self, now: i64) {
        while let Some(request) = self.requests.arrived(now) {
            self.now = self.now.max(request.due);
            self.answer(&request);
        }
    }

    fn answer(&mut self, request: &Request) {
        let (number, now) = (request.number, request.due);
        let (config, desk) = (&self.config, &mut self.desk);
        let Some(listing) = self.listings.get_mut(request.listing as usize) else {
            let kind = match request.what {
                What::Cancel => ReportKind::CancelRejected,
                _ => ReportKind::ReplaceRejected,
            };
            return no_such_order(config, desk, number, kind, now);
        };
        listing.asked -= 1;
        match request.what {
            What::New(new) => {
                self.coming -= 1;
                let chance = draw(config.seed, number, Purpose::Reject, 0);
                if hits(chance, config.faults.reject_ppm) {
                    refuse(config, desk, &new, Reason::Chance, now);
                } else if self.known.len() - self.coming > config.open_orders_max {
                    refuse(config, desk, &new, Reason::TooMany, now);
                } else {
                    self.venue_id += 1;
                    listing.arrive(config, desk, &new, self.venue_id, now);
                }
            }
            What::Cancel => listing.cancel(config, desk, number, now),
            What::Replace(price, size) => listing.replace(config, desk, number, (price, size), now),
        }
        self.settle();
    }

    /// Forgets the orders that are over and the listings that need no order of events any more.
    fn settle(&mut self) {
        let Exchange {
            desk,
            known,
            listings,
            live,
            ..
        } = self;
        desk.take_gone(|number| {
            known.remove(&number);
        });
        live.retain(|at| {
            let Some(listing) = listings.get_mut(*at as usize) else {
                return false;
            };
            listing.is_live = listing.needs_events();
            listing.is_live
        });
    }

    /// Takes a batch of the market.
    pub fn take(&mut self, batch: &Batch) {
        if self.live.is_empty() {
            return self.pass(&batch.events);
        }
        let events_of = |start: u32, stop: u32| batch.events.get(start as usize..stop as usize).unwrap_or_default();
        let mut in_order = Vec::new();
        for range in &batch.topics {
            let events = events_of(range.start, range.stop);
            let ends = [events.first(), events.last()].into_iter().flatten();
            if ends.into_iter().any(|event| self.is_live(event.instrument)) {
                in_order.push(range.topic);
            } else {
                self.pass(events);
            }
        }
        for stretch in batch.in_order(|topic| in_order.contains(&topic)) {
            self.follow(events_of(stretch.start, stretch.stop));
        }
    }

    /// Events of instruments with nothing of ours in them: quotes and followed books are kept.
    fn pass(&mut self, events: &[Event]) {
        let mut rest = events;
        while let Some(event) = rest.first() {
            let mut count = 1;
            if event.kind == Kind::Quote as u8 {
                if let Some(at) = self.place(event.instrument) {
                    if let Some(listing) = self.listings.get_mut(at as usize) {
                        listing.market.quote(event);
                    }
                }
            } else if self.follows && is_depth(event.kind) {
                let is_same = |other: &&Event| other.instrument == event.instrument && is_depth(other.kind);
                count = rest.iter().take_while(is_same).count();
                let at = self.place(event.instrument);
                if let Some(listing) = at.and_then(|at| self.listings.get_mut(at as usize)) {
                    let message = rest.get(..count).unwrap_or_default();
                    listing.market.depth(message, event.instrument);
                }
            }
            rest = rest.get(count..).unwrap_or_default();
        }
    }

    /// Events in order, message by message; what arrives at the venue before one meets the market before it.
    fn follow(&mut self, events: &[Event]) {
        let mut rest = events;
        while let Some(event) = rest.first() {
            let is_inside = |other: &&Event| other.instrument == event.instrument && other.flags & flag::LAST == 0;
            let before = rest.iter().take_while(is_inside).count();
            let ends = rest.get(before).is_some_and(|last| last.instrument == event.instrument);
            let (message, behind) = rest.split_at(before + usize::from(ends));
            rest = behind;
            self.arrive(event.ts_recv);
            self.now = self.now.max(event.ts_recv);
            let at = self.place(event.instrument);
            if let Some(listing) = at.and_then(|at| self.listings.get_mut(at as usize)) {
                listing.take(&self.config, &mut self.desk, message, self.now);
            }
        }
        self.settle();
    }

    /// The reports heard by now, in the order of their hearing.
    pub fn heard(&mut self) -> Vec<Report> {
        self.desk.heard(self.now)
    }

    /// When the next request arrives or the next report is heard.
    pub fn next_due(&self) -> Option<i64> {
        let dues = [self.requests.next_due(), self.desk.next_due()];
        dues.into_iter().flatten().min()
    }

    /// The venue's time.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// The orders that rest, and then those that are over and can still be listed.
    pub fn orders(&self) -> Vec<OrderView> {
        let resting = self.listings.iter().flat_map(Listing::orders).map(|order| order.view);
        resting.chain(self.desk.ended().iter().copied()).collect()
    }

    /// Numbers of the orders that rest or are on their way.
    pub fn open_numbers(&self) -> Vec<u64> {
        self.known.keys().copied().collect()
    }

    /// Executions from the `from`th on (0: the first ever), as far as they can be listed.
    pub fn executions(&self, from: u64) -> impl Iterator<Item = &Execution> + '_ {
        let kept = self.desk.executions();
        let first = self.desk.executed - kept.len() as u64;
        kept.iter().skip(from.saturating_sub(first) as usize)
    }

    /// Executions ever made.
    pub fn executed(&self) -> u64 {
        self.desk.executed
    }

    /// Best bid and ask that are displayed.
    pub fn touch(&self, instrument: u32) -> Option<(Option<i64>, Option<i64>)> {
        use crate::book::l2::Side;
        let listing = self.listings.get(*self.index.get(&instrument)? as usize)?;
        Some((listing.market.best(Side::Bid), listing.market.best(Side::Ask)))
    }

    /// Events and definitions that found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Instruments whose events are taken in order.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::TopicRange;
    use crate::book::l2::Side;
    use crate::event::side;
    use crate::paper::order::TimeInForce;

    const PLAIN: &[u8] = br#"{"seed":1,"queue":"risk_averse","queue_power":1,"entry_ns":[0],"response_ns":[0],
        "maker_rate":0,"taker_rate":0,"sell_rate":0,"unit_fee":0,"open_orders_max":10}"#;

    fn exchange() -> Exchange {
        let mut exchange = Exchange::new(Config::parse(PLAIN).unwrap());
        let definition = Instrument {
            venue: "okx".into(),
            symbol: "A".into(),
            asset_class: "spot".into(),
            price_scale: 0,
            size_scale: 0,
            tick: 1,
            lot: 1,
            multiplier: "1".into(),
        };
        exchange.define(7, &definition, false).unwrap();
        exchange
    }

    fn event(kind: Kind, seq: u64, of: u8, price: i64, size: i64) -> Event {
        let mut event = Event::new(kind, seq, 0, seq as i64, 7);
        (event.side, event.price, event.size) = (of, price, size);
        if kind == Kind::Trade || of == side::ASK {
            event.flags = flag::LAST;
        }
        event
    }

    fn quote(seq: u64, bid: (i64, i64), ask: (i64, i64)) -> [Event; 2] {
        [
            event(Kind::Quote, seq, side::BID, bid.0, bid.1),
            event(Kind::Quote, seq + 1, side::ASK, ask.0, ask.1),
        ]
    }

    fn bid(number: u64, price: i64) -> New {
        New {
            number,
            instrument: 7,
            side: Side::Bid,
            price: Some(price),
            size: 5,
            time_in_force: TimeInForce::Gtc,
            reduce_only: false,
        }
    }

    #[test]
    fn topics_of_a_batch_are_taken_in_the_order_of_their_numbers() {
        let mut exchange = exchange();
        exchange.pass(&quote(1, (100, 9), (110, 9)));
        exchange.submit(&bid(1, 100), 2).unwrap();
        // The level shrinks to 2 between the trades: 9 in front, 6 trade, 2 left, 3 trade.
        let trades = [(10, 6), (30, 3)].map(|(seq, size)| event(Kind::Trade, seq, side::ASK, 100, size));
        let events = [&trades[..], &quote(20, (100, 2), (110, 9))].concat();
        let range = |topic, start, stop| TopicRange { topic, start, stop };
        exchange.take(&Batch::from_parts(events, vec![range(1, 0, 2), range(2, 2, 4)], 0));
        let fills: Vec<(i64, i64)> = exchange
            .executions(0)
            .map(|each| (each.report.at, each.report.size))
            .collect();
        assert_eq!(fills, [(30, 1)]);
        assert_eq!(exchange.heard().len(), 2);
        assert_eq!((exchange.executed(), exchange.next_due()), (1, None));
    }

    #[test]
    fn an_instrument_is_live_as_long_as_something_of_ours_is_in_it() {
        let mut exchange = exchange();
        exchange.pass(&quote(1, (100, 9), (110, 9)));
        assert_eq!(exchange.live_count(), 0);
        exchange.submit(&bid(1, 110), 2).unwrap();
        exchange.advance(3);
        // It took 5 of 9 at 110, and that is remembered until the level is gone.
        assert_eq!((exchange.live_count(), exchange.open_numbers()), (1, vec![]));
        let gone = quote(10, (100, 9), (111, 9)).to_vec();
        let topic = TopicRange {
            topic: 1,
            start: 0,
            stop: 2,
        };
        exchange.take(&Batch::from_parts(gone, vec![topic], 0));
        assert_eq!(exchange.live_count(), 0);
    }

    #[test]
    fn instruments_are_bounded_and_what_finds_no_room_is_counted() {
        let mut exchange = exchange();
        for instrument in 8..8 + INSTRUMENTS_MAX as u32 {
            let mut event = event(Kind::Quote, 1, side::ASK, 1, 1);
            event.instrument = instrument;
            exchange.pass(&[event]);
        }
        assert_eq!(exchange.refused(), 1);
        let mut order = bid(1, 1);
        order.instrument = 3;
        assert_eq!(exchange.submit(&order, 1), Err(Refused::Instrument));
    }
}
