//! Order books: the rules that prove a snapshot and its changes join (`sync`), and the levels (`l2`).

pub mod sync;
