//! Requests on their way to the paper venue, in the order of their arrival.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::paper::order::New;

/// What is asked of the venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// To take an order.
    New(New),
    /// To give it back.
    Cancel,
    /// To change price and whole size.
    Replace(i64, i64),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When it arrives, ns.
    pub due: i64,
    serial: u64,
    /// Of which order.
    pub number: u64,
    /// The place of its instrument among the listings.
    pub listing: u32,
    /// What.
    pub what: What,
}

impl Ord for Request {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}

impl PartialOrd for Request {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    waiting: BinaryHeap<Reverse<Request>>,
    serial: u64,
}

impl Requests {
    /// One more, behind those that arrive at the same moment.
    pub fn push(&mut self, due: i64, number: u64, listing: u32, what: What) {
        self.serial += 1;
        self.waiting.push(Reverse(Request {
            due,
            serial: self.serial,
            number,
            listing,
            what,
        }));
    }

    /// When the next one arrives.
    #[inline]
    pub fn next_due(&self) -> Option<i64> {
        self.waiting.peek().map(|Reverse(request)| request.due)
    }

    /// The next one that has arrived by `now`.
    #[inline]
    pub fn arrived(&mut self, now: i64) -> Option<Request> {
        if self.next_due()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(request)| request)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.waiting.len()
    }
}
