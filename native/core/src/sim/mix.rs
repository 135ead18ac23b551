//! From the wanted mix of messages to the frequencies of events: an order makes trades and a quote, a quote only itself.

use crate::error::{Error, Reason, Result};

/// A fill is followed by another of the same order with probability 1 / 4, up to this many.
pub const FILLS_MAX: u32 = 8;
/// Mean of that: the sum of 4^-k for k in 0..8.
const FILLS_MEAN: f64 = 1.333_313;

/// How often each kind of event happens, as bounds on 32 random bits.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    /// Below: a market order.
    pub order: u64,
    /// Below: the best bid or ask changes; above: the depth.
    pub quote: u64,
    /// Below (own draw): an order is followed by a quote.
    pub quote_after_order: u64,
    /// Events per message.
    pub per_message: f64,
}

impl Cuts {
    /// The cuts that give shares `mix` of quote, trade and depth messages. Errors: `NotANumber`.
    pub fn new(mix: [f64; 3]) -> Result<Self> {
        let total: f64 = mix.iter().sum();
        if !(total.is_finite() && total > 0.0) || mix.iter().any(|share| *share < 0.0) {
            return Err(Error::new(Reason::NotANumber, 0));
        }
        let [quote, trade, depth] = mix.map(|share| share / total);
        let order = trade / FILLS_MEAN;
        let lone_quote = (quote - order).max(0.0);
        let per_message = order + lone_quote + depth;
        let bound = |share: f64| (share * 4_294_967_296.0) as u64;
        Ok(Cuts {
            order: bound(order / per_message),
            quote: bound((order + lone_quote) / per_message),
            quote_after_order: bound(if order > 0.0 { (quote / order).min(1.0) } else { 0.0 }),
            per_message,
        })
    }
}
