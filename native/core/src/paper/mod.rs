//! A paper exchange: our own orders, matched against the market as it is received.
//!
//! Its one job is to answer orders as a venue would, deterministically: latency both ways, a place in the queue, partial
//! fills, fees, refusals and faults. Nobody else sees its orders: the market does not react to them, and what they took
//! of a displayed size is not taken twice. It keeps no money; whoever wants an account folds its fills.
//!
//! Time is that of the events' receive stamps, nanoseconds, and moves by events of instruments with orders and by
//! `Exchange::advance`. Cutting a stream into other batches changes nothing.

pub mod config;
pub mod contract;
pub mod exchange;
mod latency;
mod listing;
mod market;
mod order;
mod queue;
pub mod report;
mod requests;

pub use config::{Config, Faults, QueueKind};
pub use exchange::{Exchange, Refused};
pub use order::{End, New, OrderView, TimeInForce};
pub use report::{Execution, Reason, Report, ReportKind};
