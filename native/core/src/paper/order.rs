//! An order at the paper venue, as it came, as it rests and as it is listed.

use crate::book::l2::Side;
use crate::paper::queue::Place;

/// How long an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeInForce {
    /// Until it is taken back.
    Gtc,
    /// What does not trade at once expires.
    Ioc,
    /// All at once, or nothing.
    Fok,
    /// Refused if it would trade at once.
    PostOnly,
}

/// A new order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct New {
    /// Ours, never used twice.
    pub number: u64,
    /// What to trade.
    pub instrument: u32,
    /// Buy: `Bid`.
    pub side: Side,
    /// `None`: at the market, what does not trade at once expires.
    pub price: Option<i64>,
    /// Size mantissa.
    pub size: i64,
    /// How long it stands.
    pub time_in_force: TimeInForce,
    /// Only to come nearer to holding nothing.
    pub reduce_only: bool,
}

/// How an order ended.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has not.
    Open = 0,
    /// Traded as a whole.
    Filled = 1,
    /// Taken back.
    Cancelled = 2,
    /// Its time in force said so.
    Expired = 3,
    /// Not taken.
    Rejected = 4,
}

/// An order as the venue lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderView {
    /// Ours.
    pub number: u64,
    /// The venue's; 0: it never gave one.
    pub venue_id: u64,
    /// What it trades.
    pub instrument: u32,
    /// Buy: `Bid`.
    pub side: Side,
    /// Its limit.
    pub price: Option<i64>,
    /// Whole size.
    pub size: i64,
    /// Traded so far.
    pub cum: i64,
    /// How it ended.
    pub end: End,
}

/// An order that the venue took.
#[derive(Debug, Clone)]
pub struct Order {
    /// As it is listed.
    pub view: OrderView,
    /// How long it stands.
    pub time_in_force: TimeInForce,
    /// Its place in the queue.
    pub place: Place,
    /// Fills so far: numbers its executions.
    pub fills: u32,
}

impl Order {
    /// One that was just taken.
    pub fn of(new: &New, venue_id: u64) -> Self {
        Order {
            view: new.view(venue_id, End::Open),
            time_in_force: new.time_in_force,
            place: Place::default(),
            fills: 0,
        }
    }

    /// What is left to trade.
    pub fn leaves(&self) -> i64 {
        self.view.size - self.view.cum
    }

    /// Whether it may wait for others.
    pub fn rests(&self) -> bool {
        self.view.price.is_some() && matches!(self.time_in_force, TimeInForce::Gtc | TimeInForce::PostOnly)
    }
}

impl New {
    /// As the venue lists it.
    pub fn view(&self, venue_id: u64, end: End) -> OrderView {
        OrderView {
            number: self.number,
            venue_id,
            instrument: self.instrument,
            side: self.side,
            price: self.price,
            size: self.size,
            cum: 0,
            end,
        }
    }
}
