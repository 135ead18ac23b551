//! Order books: the rules that prove a snapshot and its changes join (`sync`), the levels (`l2`), and both together out of
//! the event stream alone (`builder`).

pub mod builder;
pub mod l2;
pub mod sync;
