//! What a paper exchange is told at the start, as JSON: seed, queue, latencies, fees, faults.

use serde::Deserialize;

/// Latencies that may be listed.
pub const SAMPLES_MAX: usize = 1 << 16;
/// Whole of a share: shares are parts per million.
pub const MILLION: u32 = 1_000_000;
/// The longest latency: a minute, far beyond any that is not a fault.
pub const LATENCY_MAX_NS: i64 = 60_000_000_000;
/// Open orders that may be allowed.
pub const OPEN_ORDERS_MAX: usize = 1 << 16;

/// How a place in a queue gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Only by trades at the price; never more in front than the level shows.
    RiskAverse,
    /// Also by a share of what is cancelled: back^n / (back^n + front^n) of it was behind us.
    Prob,
}

/// What goes wrong on purpose; shares in parts per million, drawn by order and by what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// New orders refused by the venue.
    pub reject_ppm: u32,
    /// Requests that never arrive.
    pub lost_request_ppm: u32,
    /// Acknowledgements (of new orders, cancels, replaces) that are never told.
    pub lost_ack_ppm: u32,
    /// Acknowledgements that are told late; fills are not, so they come before.
    pub late_ack_ppm: u32,
    /// How late, ns.
    pub late_ack_ns: i64,
    /// Reports that are told twice.
    pub duplicate_ppm: u32,
}

/// Everything a paper exchange is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Of every draw.
    pub seed: u64,
    /// How a place in a queue gets better.
    pub queue: QueueKind,
    /// The power n of `QueueKind::Prob`, 1 to 3.
    pub queue_power: u32,
    /// Ways to the venue, ns: one value, or samples to draw from.
    pub entry_ns: Vec<i64>,
    /// Ways back, ns.
    pub response_ns: Vec<i64>,
    /// Of the traded value, in 1e-8, for an order that rested; negative: it is paid to us.
    pub maker_rate: i64,
    /// Of the traded value, in 1e-8, for one that took.
    pub taker_rate: i64,
    /// Of the traded value, in 1e-8, more for sells: a tax.
    pub sell_rate: i64,
    /// Money (1e-8) for each whole unit traded: a fee per contract.
    pub unit_fee: i64,
    /// Orders that may be open.
    pub open_orders_max: usize,
    /// What goes wrong on purpose.
    #[serde(default)]
    pub faults: Faults,
}

impl Config {
    /// Reads and checks a description.
    ///
    /// Errors: a sentence that says what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Config, String> {
        let config: Config = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (name, samples) in [("entry_ns", &self.entry_ns), ("response_ns", &self.response_ns)] {
            if samples.is_empty() || samples.len() > SAMPLES_MAX {
                return Err(format!("{name} needs 1 to {SAMPLES_MAX} values"));
            }
            if samples.iter().any(|ns| !(0..=LATENCY_MAX_NS).contains(ns)) {
                return Err(format!("{name} must lie within 0 and {LATENCY_MAX_NS}"));
            }
        }
        let faults = &self.faults;
        let shares = [
            faults.reject_ppm,
            faults.lost_request_ppm,
            faults.lost_ack_ppm,
            faults.late_ack_ppm,
            faults.duplicate_ppm,
        ];
        if shares.iter().any(|share| *share > MILLION) {
            return Err("a share is at most 1,000,000 parts per million".into());
        }
        if !(0..=LATENCY_MAX_NS).contains(&faults.late_ack_ns) {
            return Err(format!("late_ack_ns must lie within 0 and {LATENCY_MAX_NS}"));
        }
        if !(1..=3).contains(&self.queue_power) {
            return Err("queue_power must be 1, 2 or 3".into());
        }
        if !(1..=OPEN_ORDERS_MAX).contains(&self.open_orders_max) {
            return Err(format!("open_orders_max must lie within 1 and {OPEN_ORDERS_MAX}"));
        }
        Ok(())
    }
}
