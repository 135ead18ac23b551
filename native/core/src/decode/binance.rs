//! Binance spot, USD-M and COIN-M.

use crate::book::sync::Rule;
use crate::decode::stage::Stage;
use crate::decode::venues::{Request, VenueDecoder};
use crate::error::Result;

/// One of Binance's markets.
#[derive(Debug)]
pub struct Binance {
    venue: &'static str,
    rule: Rule,
}

/// Spot.
pub static SPOT: Binance = Binance {
    venue: "binance-spot",
    rule: Rule::BinanceSpot,
};
/// USD-margined futures.
pub static USD_M: Binance = Binance {
    venue: "binance-usdm",
    rule: Rule::BinanceFutures,
};
/// Coin-margined futures.
pub static COIN_M: Binance = Binance {
    venue: "binance-coinm",
    rule: Rule::BinanceFutures,
};

impl VenueDecoder for Binance {
    fn venue(&self) -> &'static str {
        self.venue
    }

    fn rule(&self) -> Rule {
        self.rule
    }

    fn text(&self, _payload: &[u8], _stage: &mut Stage) -> Result<()> {
        Ok(())
    }

    fn rest(&self, _request: &Request<'_>, _body: &[u8], _stage: &mut Stage) -> Result<()> {
        Ok(())
    }
}
