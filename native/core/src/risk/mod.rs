//! The pre-trade risk gate: what an order is compared with before it may leave.
//!
//! Integers only, time and halt word are arguments, nothing is allocated per check, every table has a bound. The modules
//! stand in the order of the pipeline. `risk/gate_twin.py` is the same in plain Python; the two are tested to agree.

pub mod answers;
pub mod limits;
pub mod reason;

pub mod bucket;
pub mod references;

pub mod exposure;
pub mod open_orders;
pub mod repeats;
pub mod ring_map;
pub mod step;

pub mod ask;
pub mod checks;
pub mod checks_of_money;
pub mod gate;
pub mod parties;
