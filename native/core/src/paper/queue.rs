//! A place in a queue: how much of a level trades before us. Sizes in, what is left in front out; it knows no orders.
//!
//! The two rules are hftbacktest's (MIT) `RiskAdverseQueueModel` and `ProbQueueModel` with `PowerProbQueueFunc`, in integers.

use crate::paper::config::QueueKind;

/// How a place is judged.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Which of the two.
    pub kind: QueueKind,
    /// The power of `Prob`.
    pub power: u32,
}

/// The place of one order at its price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Size in front; `None`: the level was never seen.
    pub front: Option<i64>,
    /// Size that the level showed last.
    shown: i64,
    /// Traded at the price since it was last shown: the level's next decrease has this in it already.
    traded: i64,
}

impl Place {
    /// Behind everything that the level shows; `None`: it is not seen.
    pub fn behind(shown: Option<i64>) -> Self {
        Place {
            front: shown,
            shown: shown.unwrap_or(0),
            traded: 0,
        }
    }

    /// A trade of `volume` at our price of which `reached` came past our own orders in front; returns what of it is ours.
    pub fn trade(&mut self, volume: i64, reached: i64) -> i64 {
        self.traded = self.traded.saturating_add(volume);
        let Some(front) = self.front else { return 0 };
        self.front = Some((front - reached).max(0));
        (reached - front).max(0)
    }

    /// Something traded beyond our price: nobody is in front any more.
    pub fn passed(&mut self) {
        self.front = Some(0);
    }

    /// The level shows `shown` now.
    pub fn show(&mut self, rule: Rule, shown: i64) {
        let before = std::mem::replace(&mut self.shown, shown);
        let traded = std::mem::take(&mut self.traded);
        let Some(front) = self.front else {
            *self = Place::behind(Some(shown));
            return;
        };
        let gone = before.saturating_sub(shown).saturating_sub(traded);
        let front = match rule.kind {
            QueueKind::Prob if gone > 0 => front - ahead_of(front, before, gone, rule.power).min(front),
            _ => front,
        };
        // Never more in front than there is.
        self.front = Some(front.min(shown));
    }
}

/// How much of the cancelled `gone` was in front; rounded down, so that a place is never too good.
fn ahead_of(front: i64, before: i64, gone: i64, power: u32) -> i64 {
    let (ahead, back) = (front as f64, (before - front).max(0) as f64);
    // Multiplications only: the same bits on every machine.
    let raised = |value: f64| (1..power).fold(value, |product, _| product * value);
    let sum = raised(ahead) + raised(back);
    let behind = if sum > 0.0 { raised(back) / sum } else { 1.0 };
    let gone = gone as f64;
    // What is said to go behind us and is not there went in front.
    let more = (behind * gone - back).max(0.0);
    ((1.0 - behind) * gone + more).floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVERSE: Rule = Rule {
        kind: QueueKind::RiskAverse,
        power: 1,
    };

    fn prob(power: u32) -> Rule {
        Rule {
            kind: QueueKind::Prob,
            power,
        }
    }

    #[test]
    fn averse_moves_by_trades_and_by_a_level_that_shrinks_below_it() {
        let mut place = Place::behind(Some(10));
        assert_eq!(place.trade(4, 4), 0);
        assert_eq!(place.front, Some(6));
        place.show(AVERSE, 20);
        assert_eq!(place.front, Some(6));
        place.show(AVERSE, 8);
        assert_eq!(place.front, Some(6));
        place.show(AVERSE, 5);
        assert_eq!(place.front, Some(5));
        assert_eq!(place.trade(7, 7), 2);
        assert_eq!((place.front, place.trade(3, 3)), (Some(0), 3));
    }

    #[test]
    fn prob_gives_a_share_of_cancels_and_counts_trades_once() {
        let mut place = Place::behind(Some(60));
        place.show(prob(1), 100);
        // 20 cancelled, 40 % of them behind us: 12 were in front.
        place.show(prob(1), 80);
        assert_eq!(place.front, Some(48));
        // 10 traded, the level shrinks by the same 10: nothing was cancelled.
        assert_eq!(place.trade(10, 10), 0);
        place.show(prob(1), 70);
        assert_eq!(place.front, Some(38));
        // front 30, behind 40, 30 gone: squares 900 and 1600.
        let mut place = Place::behind(Some(30));
        place.show(prob(2), 70);
        place.show(prob(2), 40);
        assert_eq!(place.front, Some(20)); // 30 - floor(10.8)
    }

    #[test]
    fn what_cannot_have_gone_behind_went_in_front() {
        let mut place = Place::behind(Some(50));
        place.show(prob(3), 60);
        // 50³ against 10³: 39.7 of the 40 that went were in front.
        place.show(prob(3), 20);
        assert_eq!(place.front, Some(11));
        // 54.6 of 55 are said to have been behind, where 50 were.
        let mut place = Place::behind(Some(10));
        place.show(prob(3), 60);
        place.show(prob(3), 5);
        assert_eq!(place.front, Some(5));
        let mut alone = Place::behind(Some(0));
        alone.show(prob(1), 30);
        alone.show(prob(1), 10);
        assert_eq!(alone.front, Some(0));
    }

    #[test]
    fn a_level_never_seen_gives_no_place_until_it_is_shown_or_passed() {
        let mut place = Place::behind(None);
        assert_eq!((place.trade(5, 5), place.front), (0, None));
        place.show(AVERSE, 7);
        assert_eq!(place.front, Some(7));
        let mut place = Place::behind(None);
        place.passed();
        assert_eq!(place.trade(5, 5), 5);
    }
}
