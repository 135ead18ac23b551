//! The venues this build decodes: one line per venue.

use crate::decode::venue::VenueDecoder;
use crate::decode::{binance, okx, shioaji};

/// Every venue, in the order of their numbers (a number lives in one process only).
pub static VENUES: &[&dyn VenueDecoder] = &[
    &binance::SPOT,
    &binance::USD_M,
    &binance::COIN_M,
    &okx::Okx,
    &shioaji::Shioaji,
];

/// The number of a venue by its name.
pub fn number(venue: &str) -> Option<u16> {
    VENUES
        .iter()
        .position(|decoder| decoder.venue() == venue)
        .map(|at| at as u16)
}

/// The venue with a number.
pub fn decoder(number: u16) -> Option<&'static dyn VenueDecoder> {
    VENUES.get(usize::from(number)).copied()
}
