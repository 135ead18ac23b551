//! Why the gate refuses: the numbers of `risk/reasons.py`, in the order of the checks.

/// A number is its bit in the vector; the lowest that fails is the answer.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The halt word says so.
    Halted = 1,
    /// A halt of a venue, an account, a strategy or an instrument.
    HaltedScope = 2,
    /// A halt of one side.
    SideHalted = 3,
    /// Price or size is no whole number that 64 bits hold.
    NonFinite = 4,
    /// Nothing, or less, is asked for.
    BadQty = 5,
    /// No definition.
    UnknownInstrument = 6,
    /// No row says that it may be traded, one says that it may not, or its worth is not linear.
    NotTradable = 7,
    /// On the restricted list.
    Restricted = 8,
    /// Outside the hours.
    TradingWindow = 9,
    /// No multiple of the tick, or no price at all.
    BadTick = 10,
    /// No multiple of the lot.
    BadLot = 11,
    /// A limit that must be written is not.
    MissingLimit = 12,
    /// More than one order may have.
    MaxOrderQty = 13,
    /// No price was ever seen, or what is held under a key has none.
    MissingReference = 14,
    /// The last price is too old.
    StaleReference = 15,
    /// Too far from the price of now.
    PriceCollar = 16,
    /// Too far from the price of some time ago.
    PeriodCollar = 17,
    /// Worth more than one order may be.
    MaxNotional = 18,
    /// Would not reduce the account's position.
    ReduceOnly = 19,
    /// Position and open orders would be too much.
    PositionLimit = 20,
    /// As money, over everything under a key, whichever side fills.
    GrossExposure = 21,
    /// As money, long against short.
    NetExposure = 22,
    /// Too many are open.
    MaxOpenOrders = 23,
    /// Would meet an order of ours.
    SelfTrade = 24,
    /// A number, a client id or a content that was there already.
    Duplicate = 25,
    /// The strategy was stopped for repeated executions.
    RepeatedExecution = 26,
    /// Too many cancels for its orders.
    CancelRatio = 27,
    /// Lost too much today.
    DailyLoss = 28,
    /// Fell too far from its highest equity.
    Drawdown = 29,
    /// Nothing is known of the account's money.
    MissingAccount = 30,
    /// What is known is too old.
    StaleAccount = 31,
    /// Not enough would be left.
    FreeBalance = 32,
    /// Too many messages under a key.
    RateSide = 33,
    /// Too many for the venue.
    RateVenue = 34,
    /// The limit lets not even one through.
    BurstTooSmall = 35,
    /// A figure that does not fit.
    Overflow = 36,
    /// A table is full.
    TooMany = 37,
    /// A replace or cancel of what the gate does not hold.
    NoSuchOrder = 45,
}

impl Reason {
    /// Every reason that a check can have, in their order.
    pub const CHECKS: [Reason; 37] = [
        Reason::Halted,
        Reason::HaltedScope,
        Reason::SideHalted,
        Reason::NonFinite,
        Reason::BadQty,
        Reason::UnknownInstrument,
        Reason::NotTradable,
        Reason::Restricted,
        Reason::TradingWindow,
        Reason::BadTick,
        Reason::BadLot,
        Reason::MissingLimit,
        Reason::MaxOrderQty,
        Reason::MissingReference,
        Reason::StaleReference,
        Reason::PriceCollar,
        Reason::PeriodCollar,
        Reason::MaxNotional,
        Reason::ReduceOnly,
        Reason::PositionLimit,
        Reason::GrossExposure,
        Reason::NetExposure,
        Reason::MaxOpenOrders,
        Reason::SelfTrade,
        Reason::Duplicate,
        Reason::RepeatedExecution,
        Reason::CancelRatio,
        Reason::DailyLoss,
        Reason::Drawdown,
        Reason::MissingAccount,
        Reason::StaleAccount,
        Reason::FreeBalance,
        Reason::RateSide,
        Reason::RateVenue,
        Reason::BurstTooSmall,
        Reason::Overflow,
        Reason::TooMany,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_numbered_without_a_hole() {
        for (at, reason) in Reason::CHECKS.iter().enumerate() {
            assert_eq!(*reason as usize, at + 1);
        }
    }
}
