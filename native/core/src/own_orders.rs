//! Orders of ours that are not over, and the positions that their fills make: out of ORDER events alone.
//!
//! Bounded: an order that is over is forgotten. It knows nothing of venues, gates or prices' meaning.

use std::collections::BTreeMap;

use crate::event::{side, Event, OrderState, PRICE_UNDEF, SIZE_UNDEF};

/// Open orders that are kept at most; a strategy that has more has lost count itself.
pub const OPEN_MAX: usize = 1 << 16;
/// Positions kept at most: (strategy, instrument).
pub const POSITIONS_MAX: usize = 1 << 16;

/// What the fills of one strategy in one instrument add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Bought minus sold, size mantissa.
    pub size: i64,
    /// Paid minus received: price mantissa times size mantissa.
    pub cost: i128,
}

/// The strategy a client id belongs to: its upper half. The lower half counts.
pub const fn owner(client_id: u64) -> u32 {
    (client_id >> 32) as u32
}

/// Open orders and positions of all strategies of a host.
#[derive(Debug, Clone, Default)]
pub struct OwnOrders {
    open: BTreeMap<u64, Event>,
    positions: BTreeMap<(u32, u32), Position>,
    refused: u64,
}

impl OwnOrders {
    /// Takes an ORDER event. Price and size stand in the news of a fill alone, whatever state it leaves the order in:
    /// one that came behind the end of an order counts as well, and the order stays over.
    pub fn take(&mut self, event: &Event) {
        self.fill(event);
        if OrderState::is_end(event.aux) {
            self.open.remove(&event.id);
        } else if self.open.len() < OPEN_MAX || self.open.contains_key(&event.id) {
            self.open.insert(event.id, *event);
        } else {
            self.refused += 1;
        }
    }

    fn fill(&mut self, event: &Event) {
        if event.size == SIZE_UNDEF || event.price == PRICE_UNDEF {
            return;
        }
        let key = (owner(event.id), event.instrument);
        if self.positions.len() >= POSITIONS_MAX && !self.positions.contains_key(&key) {
            self.refused += 1;
            return;
        }
        let size = if event.side == side::ASK {
            event.size.saturating_neg()
        } else {
            event.size
        };
        let position = self.positions.entry(key).or_default();
        position.size = position.size.saturating_add(size);
        position.cost += i128::from(event.price) * i128::from(size);
    }

    /// The newest event of every open order of a strategy, by client id.
    pub fn open_of(&self, strategy: u32) -> impl Iterator<Item = &Event> {
        let (first, last) = (u64::from(strategy) << 32, u64::from(strategy) << 32 | 0xFFFF_FFFF);
        self.open.range(first..=last).map(|(_, event)| event)
    }

    /// What a strategy holds of an instrument.
    pub fn position(&self, strategy: u32, instrument: u32) -> Position {
        self.positions.get(&(strategy, instrument)).copied().unwrap_or_default()
    }

    /// Events that found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn order(id: u64, state: OrderState, side: u8, fill: Option<(i64, i64)>) -> Event {
        let mut event = Event::new(Kind::Order, 1, 1, 1, 7);
        (event.id, event.aux, event.side) = (id, state as i64, side);
        if let Some((price, size)) = fill {
            (event.price, event.size) = (price, size);
        }
        event
    }

    const FIRST: u64 = 5 << 32 | 1;

    #[test]
    fn fills_add_up_and_what_is_over_is_forgotten() {
        let mut orders = OwnOrders::default();
        orders.take(&order(FIRST, OrderState::Accepted, side::BID, None));
        orders.take(&order(FIRST + 1, OrderState::Accepted, side::ASK, None));
        orders.take(&order(6 << 32, OrderState::Accepted, side::ASK, None));
        orders.take(&order(FIRST, OrderState::PartlyFilled, side::BID, Some((100, 3))));
        assert_eq!(
            orders.open_of(5).map(|event| event.id).collect::<Vec<_>>(),
            [FIRST, FIRST + 1]
        );
        orders.take(&order(FIRST, OrderState::Filled, side::BID, Some((101, 1))));
        orders.take(&order(FIRST + 1, OrderState::Filled, side::ASK, Some((110, 4))));
        assert_eq!(orders.open_of(5).count(), 0);
        assert_eq!(orders.open_of(6).count(), 1);
        let flat = Position {
            size: 0,
            cost: 300 + 101 - 440,
        };
        assert_eq!(orders.position(5, 7), flat);
        assert_eq!(orders.position(6, 7), Position::default());
    }

    #[test]
    fn a_late_fill_counts_and_the_order_stays_over() {
        let mut orders = OwnOrders::default();
        for state in [OrderState::PendingNew, OrderState::Sent, OrderState::PendingCancel] {
            orders.take(&order(FIRST, state, side::BID, None));
            assert_eq!(orders.open_of(5).count(), 1);
        }
        orders.take(&order(FIRST, OrderState::Cancelled, side::BID, None));
        assert_eq!(
            (orders.open_of(5).count(), orders.position(5, 7)),
            (0, Position::default())
        );
        orders.take(&order(FIRST, OrderState::Cancelled, side::BID, Some((100, 3))));
        assert_eq!(orders.open_of(5).count(), 0);
        assert_eq!(orders.position(5, 7), Position { size: 3, cost: 300 });
    }

    #[test]
    fn a_fill_counts_in_every_state_that_it_can_leave_behind() {
        let mut orders = OwnOrders::default();
        for state in [
            OrderState::PendingCancel,
            OrderState::PendingReplace,
            OrderState::Unknown,
        ] {
            orders.take(&order(FIRST, state, side::ASK, Some((10, 2))));
            assert_eq!(orders.open_of(5).count(), 1);
        }
        assert_eq!(orders.position(5, 7), Position { size: -6, cost: -60 });
        orders.take(&order(FIRST, OrderState::Denied, side::ASK, None));
        assert_eq!(orders.open_of(5).count(), 0);
    }

    #[test]
    fn a_refusal_leaves_nothing_and_the_bound_holds() {
        let mut orders = OwnOrders::default();
        orders.take(&order(FIRST, OrderState::Rejected, side::BID, None));
        assert_eq!(orders.open_of(5).count(), 0);
        for id in 0..OPEN_MAX as u64 + 2 {
            orders.take(&order(id, OrderState::Sent, side::BID, None));
        }
        assert_eq!((orders.open_of(0).count(), orders.refused()), (OPEN_MAX, 2));
    }
}
