//! The Python faces of the indicators, a file per what they take.

// A constructor has the parameters that the indicator has.
#![allow(clippy::too_many_arguments)]

use pyo3::prelude::*;

mod arrays;
#[macro_use]
mod face;
mod books;
mod hawkes;
mod prices;
mod quotes;
mod seen;
mod set;
mod trades;

/// Exports all of them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    quotes::register(m)?;
    books::register(m)?;
    trades::register(m)?;
    prices::register(m)?;
    hawkes::register(m)?;
    set::register(m)
}
