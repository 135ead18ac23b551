//! What the paper venue says of our orders, when it is heard, and what it remembers of it.
//!
//! A report made at the venue is heard one way back later. Both ways have one length per order, so an order's reports come
//! in their order, except where a fault says otherwise.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::book::l2::Side;
use crate::event::{PRICE_UNDEF, SIZE_UNDEF};
use crate::paper::config::Config;
use crate::paper::contract::Contract;
use crate::paper::latency::{draw, hits, sample, Purpose};
use crate::paper::order::{End, Order, OrderView};

/// Executions, and orders that are over, that the venue can list.
pub const LISTED_MAX: usize = 10_000;

/// What is reported; the numbers are `risk.orders.ReportKind`.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportKind {
    /// Taken.
    Acked = 1,
    /// Traded.
    Fill = 2,
    /// Taken back.
    Cancelled = 3,
    /// Ended by its time in force.
    Expired = 4,
    /// Not taken.
    Rejected = 5,
    /// There was nothing to take back.
    CancelRejected = 6,
    /// Changed.
    Replaced = 7,
    /// Stays as it was.
    ReplaceRejected = 8,
}

/// Why something was refused or ended.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing to say.
    None = 0,
    /// The instrument was never defined, or has no terms.
    UnknownInstrument = 1,
    /// Not on the price grid.
    BadTick = 2,
    /// Not on the size grid, or not above 0.
    BadLot = 3,
    /// Post-only, and it would have traded.
    WouldTake = 4,
    /// The venue holds no more orders of us.
    TooMany = 5,
    /// It would not reduce what is held.
    ReduceOnly = 6,
    /// By chance, as configured.
    Chance = 7,
    /// No such order, or it is over.
    UnknownOrder = 8,
    /// Nobody to trade with, in part or at all.
    NoMarket = 9,
}

impl Reason {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::None => "",
            Reason::UnknownInstrument => "unknown_instrument",
            Reason::BadTick => "bad_tick",
            Reason::BadLot => "bad_lot",
            Reason::WouldTake => "would_take",
            Reason::TooMany => "too_many_orders",
            Reason::ReduceOnly => "reduce_only",
            Reason::Chance => "chance",
            Reason::UnknownOrder => "unknown_order",
            Reason::NoMarket => "no_market",
        }
    }
}

/// One thing that the venue says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// What.
    pub kind: ReportKind,
    /// Our number of the order.
    pub number: u64,
    /// The venue's; 0: none.
    pub venue_id: u64,
    /// Counts the order's fills from 1; 0: no fill.
    pub fill: u32,
    /// Of the fill, or of the replaced order; `PRICE_UNDEF`: none.
    pub price: i64,
    /// Of the fill, or whole of the replaced order; `SIZE_UNDEF`: none.
    pub size: i64,
    /// Traded so far.
    pub cum: i64,
    /// Money paid for the fill, 1e-8.
    pub fee: i64,
    /// Why.
    pub reason: Reason,
    /// When it happened at the venue, ns.
    pub at: i64,
}

/// A fill as the venue's books have it, with what it traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// As it is reported.
    pub report: Report,
    /// What was traded.
    pub instrument: u32,
    /// Bought: `Bid`.
    pub side: Side,
}

/// What is on its way to us, and what the venue can list.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// (heard at, order of making, report)
    told: BinaryHeap<Reverse<(i64, u64, Report)>>,
    serial: u64,
    executions: VecDeque<Execution>,
    /// Executions ever made.
    pub executed: u64,
    ended: VecDeque<OrderView>,
    /// Orders that ended since the exchange looked.
    gone: Vec<u64>,
}

impl Desk {
    /// When the next report is heard.
    pub fn next_due(&self) -> Option<i64> {
        self.told.peek().map(|Reverse((due, ..))| *due)
    }

    /// The reports heard up to `now`, in the order of their hearing.
    pub fn heard(&mut self, now: i64) -> Vec<Report> {
        let mut heard = Vec::new();
        while self.next_due().is_some_and(|due| due <= now) {
            heard.extend(self.told.pop().map(|Reverse((_, _, report))| report));
        }
        heard
    }

    /// Reports on their way.
    pub fn told_count(&self) -> usize {
        self.told.len()
    }

    /// The executions that can be listed, oldest first.
    pub fn executions(&self) -> &VecDeque<Execution> {
        &self.executions
    }

    /// Orders that are over and can be listed, oldest first.
    pub fn ended(&self) -> &VecDeque<OrderView> {
        &self.ended
    }

    /// Says something about an order.
    pub fn tell(&mut self, config: &Config, report: Report) {
        let (seed, number) = (config.seed, report.number);
        let bits = |purpose, count| draw(seed, number, purpose, count);
        // Of one order a kind comes once, but fills; a second replace shares the fate of the first.
        let count = report.fill << 8 | report.kind as u32;
        let faults = &config.faults;
        let is_answer = matches!(
            report.kind,
            ReportKind::Acked | ReportKind::Cancelled | ReportKind::Replaced
        );
        let mut heard = report
            .at
            .saturating_add(sample(&config.response_ns, bits(Purpose::Response, 0)));
        if is_answer && hits(bits(Purpose::LostAck, count), faults.lost_ack_ppm) {
            return;
        }
        if is_answer && hits(bits(Purpose::LateAck, count), faults.late_ack_ppm) {
            heard = heard.saturating_add(faults.late_ack_ns);
        }
        let times = 1 + usize::from(hits(bits(Purpose::Duplicate, count), faults.duplicate_ppm));
        for _ in 0..times {
            self.serial += 1;
            self.told.push(Reverse((heard, self.serial, report)));
        }
    }

    /// Says something about an order that the venue has, or had.
    pub fn tell_of(&mut self, config: &Config, view: &OrderView, kind: ReportKind, reason: Reason, at: i64) {
        let of_order = kind == ReportKind::Replaced;
        self.tell(
            config,
            Report {
                kind,
                number: view.number,
                venue_id: view.venue_id,
                fill: 0,
                price: view.price.filter(|_| of_order).unwrap_or(PRICE_UNDEF),
                size: if of_order { view.size } else { SIZE_UNDEF },
                cum: view.cum,
                fee: 0,
                reason,
                at,
            },
        );
    }

    /// Trades `size` of an order at `price`. False: what it costs does not fit, so nothing was traded.
    pub fn fill(
        &mut self,
        (config, contract): (&Config, &Contract),
        order: &mut Order,
        (price, size): (i64, i64),
        is_maker: bool,
        at: i64,
    ) -> bool {
        let view = &mut order.view;
        let rate = if is_maker { config.maker_rate } else { config.taker_rate };
        let tax = if view.side == Side::Ask { config.sell_rate } else { 0 };
        let Some(fee) = contract.fee(price, size, rate.saturating_add(tax), config.unit_fee) else {
            return false;
        };
        view.cum += size;
        order.fills += 1;
        let report = Report {
            kind: ReportKind::Fill,
            number: view.number,
            venue_id: view.venue_id,
            fill: order.fills,
            price,
            size,
            cum: view.cum,
            fee,
            reason: Reason::None,
            at,
        };
        let (instrument, side) = (view.instrument, view.side);
        keep(
            &mut self.executions,
            Execution {
                report,
                instrument,
                side,
            },
        );
        self.executed += 1;
        self.tell(config, report);
        true
    }

    /// Lists an order as over.
    pub fn note_end(&mut self, view: &OrderView, end: End) {
        keep(&mut self.ended, OrderView { end, ..*view });
        self.gone.push(view.number);
    }

    /// Gives the orders that ended since the last call to `forget`.
    pub fn take_gone(&mut self, forget: impl FnMut(u64)) {
        self.gone.drain(..).for_each(forget);
    }
}

fn keep<T>(list: &mut VecDeque<T>, entry: T) {
    if list.len() >= LISTED_MAX {
        list.pop_front();
    }
    list.push_back(entry);
}
