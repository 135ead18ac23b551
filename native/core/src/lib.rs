//! tickd's pure core: what turns venue bytes into exact, ordered, fixed-size events, and back into files and blocks.
//!
//! Nothing here knows Python, files, threads or a clock: bytes, events and times come in as arguments, values go out.
//! The modules stand in the order of the flow.

#![deny(unsafe_code)]

pub mod error;
pub mod decimal;
pub mod event;
pub mod batch;
pub mod instrument;
pub mod topic;
pub mod record;
pub mod decode;
pub mod book;
pub mod segment;
pub mod block;
pub mod histogram;
pub mod sim;
