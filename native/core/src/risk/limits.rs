//! Limits as integers, compiled per route and key by `risk/compiling.py`. They compare nothing.

/// No limit: it was written that there is none. Every limit is at least 0.
pub const NONE: i64 = -1;

/// Limits of an order by itself, for one side of a route.
#[derive(Debug, Clone, Copy, Default)]
pub struct SideLimits {
    /// Some limit is not written.
    pub is_missing: bool,
    /// Some row says that it may be traded, and none that it may not.
    pub is_tradable: bool,
    /// It is on the restricted list.
    pub is_restricted: bool,
    /// It must not meet an order of ours.
    pub denies_self_trade: bool,
    /// Size mantissa.
    pub order_qty_max: i64,
    /// Money.
    pub order_notional_max: i64,
    /// Ten-thousandths of the price of now.
    pub collar_bps: i64,
    /// Of the price some time ago.
    pub period_collar_bps: i64,
    /// How old the price may be.
    pub reference_age_ns_max: i64,
    /// Within which the same order is a duplicate.
    pub duplicate_window_ns: i64,
    /// Of an order's worth, what it takes of the free balance.
    pub margin_pct: i64,
    /// Money the strategy may lose in a day on this account.
    pub strategy_loss_max: i64,
}

/// Limits of one side under one key.
#[derive(Debug, Clone, Copy)]
pub struct CellLimits {
    /// Size mantissa.
    pub position_max: i64,
    /// Money.
    pub gross_max: i64,
    /// Money.
    pub net_max: i64,
    /// Orders that are not over.
    pub open_orders_max: i64,
    /// New orders and replaces in any window.
    pub orders_max: i64,
    /// Its length.
    pub orders_window_ns: i64,
}

/// Limits of an account.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccountLimits {
    /// Some limit is not written.
    pub is_missing: bool,
    /// Money it may lose in a day.
    pub daily_loss_max: i64,
    /// Money below its highest equity.
    pub drawdown_max: i64,
    /// Money that must be left.
    pub free_balance_min: i64,
    /// How old its state may be.
    pub age_ns_max: i64,
}

/// Limits of a strategy.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrategyLimits {
    /// Some limit is not written.
    pub is_missing: bool,
    /// So many executions ...
    pub executions_max: i64,
    /// ... within so long stop it.
    pub executions_window_ns: i64,
    /// Cancels and replaces per hundred orders.
    pub cancel_ratio_pct_max: i64,
}
