//! An order as the gate is asked about it, and what is known of it on its way through the checks.

use crate::risk::exposure::Worst;
use crate::risk::open_orders::Open;
use crate::risk::reason::Reason;

/// A new order, as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Of whom and what.
    pub route: usize,
    /// The router's, never used before.
    pub number: u64,
    /// The asker's, never used before.
    pub client_id: u64,
    /// 0 buys, 1 sells.
    pub side: u8,
    /// None: a market order.
    pub price: Option<i64>,
    /// Size mantissa.
    pub size: i64,
    /// Whether price and size were whole numbers at all.
    pub is_finite: bool,
    /// It must reduce the account's position.
    pub is_reduce_only: bool,
    /// Monotonic.
    pub mono_ns: i64,
    /// Wall.
    pub wall_ns: i64,
}

/// What replaces an order that is out.
#[derive(Debug, Clone, Copy)]
pub struct AskReplace {
    /// Which.
    pub number: u64,
    /// None: as it is.
    pub price: Option<i64>,
    /// As a whole.
    pub size: i64,
    /// See `Ask`.
    pub is_finite: bool,
    /// Monotonic.
    pub mono_ns: i64,
    /// Wall.
    pub wall_ns: i64,
}

/// An order on its way through, and what is failing.
pub(super) struct Check<'a> {
    pub(super) ask: &'a Ask,
    pub(super) replacing: Option<Open>,
    /// To be reserved beyond what is.
    pub(super) extra: i128,
    pub(super) reducible: i128,
    pub(super) reduces: bool,
    /// Of the free balance.
    pub(super) need: i128,
    /// What its route holds at worst with it; of an order that has a price.
    pub(super) worst: Worst,
    /// Some key's rate has no token.
    pub(super) lacks_token: bool,
    pub(super) vector: u64,
    pub(super) first: u8,
    pub(super) figures: [Option<i128>; 3],
}

impl<'a> Check<'a> {
    #[inline]
    pub(super) fn new(ask: &'a Ask, replacing: Option<Open>, extra: i128) -> Self {
        Check {
            ask,
            replacing,
            extra,
            reducible: 0,
            reduces: false,
            need: 0,
            worst: Worst::default(),
            lacks_token: false,
            vector: 0,
            first: 0,
            figures: [None; 3],
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, reason: Reason, figures: [Option<i128>; 3]) {
        if self.first == 0 || (reason as u8) < self.first {
            (self.first, self.figures) = (reason as u8, figures);
        }
        self.vector |= 1 << reason as u8;
    }

    #[cold]
    #[inline(never)]
    pub(super) fn exceeds(&mut self, reason: Reason, limit: i64, value: i128) {
        self.fail(reason, [Some(i128::from(limit)), Some(value), None]);
    }

    #[inline]
    pub(super) fn at(&self) -> usize {
        usize::from(self.ask.side)
    }
}

#[inline]
pub(super) fn of_side<T>(both: &[T; 2], side: usize) -> &T {
    let [buy, sell] = both;
    if side == 0 {
        buy
    } else {
        sell
    }
}
