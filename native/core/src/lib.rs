//! tickd's pure core: what turns venue bytes into exact, ordered, fixed-size events, and back into files and blocks.
//!
//! Nothing here knows Python, files, threads or a clock: bytes, events and times come in as arguments, values go out.
//! The modules stand in the order of the flow.

#![deny(unsafe_code)]

pub mod batch;
pub mod block;
pub mod book;
pub mod decimal;
pub mod decode;
pub mod error;
pub mod event;
pub mod feed;
pub mod histogram;
pub mod indicators;
pub mod instrument;
pub mod last_values;
pub mod outbox;
pub mod own_orders;
pub mod paper;
pub mod queue;
pub mod record;
pub mod reuse;
pub mod risk;
pub mod segment;
pub mod sim;
pub mod topic;
pub mod topic_latency;
