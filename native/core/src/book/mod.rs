//! Order books: the rules that prove a snapshot and its changes join (`sync`), price levels (`l2`) and single orders (`l3`)
//! on sorted `ladder`s, and a live book out of the event stream alone (`builder`).

pub mod builder;
pub mod l2;
pub mod l3;
pub mod ladder;
pub mod sync;
