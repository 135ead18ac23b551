//! What is held and what may come, in sizes and as money: per route, and summed under every key.
//!
//! Kept as differences, so that a check costs the same whatever is open. The worst case counts: everything that is open
//! on a side fills, and nothing on the other.

/// Values of money end here, so that sums of a million of them still fit 128 bits.
pub const MONEY_CAP: i128 = 1 << 100;

/// Money = price × size × num / div.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// At least 1.
    pub num: i64,
    /// At least 1.
    pub div: i64,
}

impl Worth {
    /// Money of a size at a price, rounded up; `MONEY_CAP` where it does not fit.
    #[inline]
    pub fn of(self, size: u128, price: i64) -> i128 {
        let (price, num, div) = (price.max(0) as u64, self.num.max(1) as u64, self.div.max(1) as u64);
        let small = u64::try_from(size)
            .ok()
            .and_then(|size| size.checked_mul(price))
            .and_then(|product| product.checked_mul(num));
        match small {
            Some(product) if div == 1 => i128::from(product),
            Some(product) => i128::from(product.div_ceil(div)),
            None => large(size, price, num, div),
        }
    }
}

#[cold]
fn large(size: u128, price: u64, num: u64, div: u64) -> i128 {
    let product = i128::try_from(size)
        .ok()
        .and_then(|size| size.checked_mul(i128::from(price)))
        .and_then(|product| product.checked_mul(i128::from(num)));
    let Some(product) = product else {
        return MONEY_CAP;
    };
    let (whole, rest) = (product / i128::from(div), product % i128::from(div));
    (whole + i128::from(rest != 0)).min(MONEY_CAP)
}

/// Money in the worst case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worst {
    /// Of either side.
    pub gross: i128,
    /// When all buys fill.
    pub long: i128,
    /// When all sells fill.
    pub short: i128,
    /// Something is held, and there is no price for it.
    pub is_unvalued: bool,
}

/// What a route holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leaf {
    /// Bought minus sold.
    pub position: i128,
    /// Sizes that may still fill: buys, sells.
    pub open: [i128; 2],
    /// As it stands in the sums.
    pub worst: Worst,
}

impl Leaf {
    /// More is open, and that is the worst case of it.
    #[inline]
    pub fn add(&mut self, open: [i128; 2], worst: Worst) {
        for (size, more) in self.open.iter_mut().zip(open) {
            *size += more;
        }
        self.worst = worst;
    }

    /// The worst case with `extra` more on a side, at `mark` (0: no price).
    #[inline]
    pub fn worst_with(&self, extra: [i128; 2], worth: Option<Worth>, mark: i64) -> Worst {
        let [buys, sells] = self.open;
        let [more_buys, more_sells] = extra;
        let (long, short) = (self.position + buys + more_buys, self.position - sells - more_sells);
        if long == 0 && short == 0 {
            return Worst::default();
        }
        let Some(worth) = worth.filter(|_| mark > 0) else {
            return Worst {
                is_unvalued: true,
                ..Worst::default()
            };
        };
        let signed = |size: i128| match size {
            0 => 0,
            1.. => worth.of(size.unsigned_abs(), mark),
            _ => -worth.of(size.unsigned_abs(), mark),
        };
        let (long, short) = (signed(long), signed(short));
        Worst {
            gross: long.abs().max(short.abs()),
            long,
            short,
            is_unvalued: false,
        }
    }
}

/// The sum of everything under one key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// Of one instrument; means nothing where several are summed.
    pub position: i128,
    /// Of one instrument: buys, sells.
    pub open: [i128; 2],
    /// Money.
    pub gross: i128,
    /// Money.
    pub long: i128,
    /// Money.
    pub short: i128,
    /// Routes that hold something without a price.
    pub unvalued: u32,
    /// Orders that are not over: buys, sells.
    pub orders: [u32; 2],
}

/// What a sum changes by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Difference {
    position: i128,
    open: [i128; 2],
    gross: i128,
    long: i128,
    short: i128,
    unvalued: i32,
    orders: [i32; 2],
}

impl Difference {
    /// By so much more held and open, by so many orders, and by another worst case.
    #[inline]
    pub fn new(position: i128, open: [i128; 2], orders: [i32; 2], was: &Worst, now: &Worst) -> Self {
        Difference {
            position,
            open,
            gross: now.gross - was.gross,
            long: now.long - was.long,
            short: now.short - was.short,
            unvalued: i32::from(now.is_unvalued) - i32::from(was.is_unvalued),
            orders,
        }
    }

    /// By all that a route holds.
    pub fn of(leaf: &Leaf, orders: [u32; 2]) -> Self {
        let counts = orders.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
        Difference::new(leaf.position, leaf.open, counts, &Worst::default(), &leaf.worst)
    }

    /// The same, taken away.
    pub fn away(self) -> Self {
        Difference {
            position: -self.position,
            open: self.open.map(|size| -size),
            gross: -self.gross,
            long: -self.long,
            short: -self.short,
            unvalued: -self.unvalued,
            orders: self.orders.map(|count| -count),
        }
    }
}

impl Sum {
    /// Changes it.
    #[inline]
    pub fn add(&mut self, by: &Difference) {
        self.position += by.position;
        for (open, more) in self.open.iter_mut().zip(by.open) {
            *open += more;
        }
        self.gross += by.gross;
        self.long += by.long;
        self.short += by.short;
        self.unvalued = self.unvalued.saturating_add_signed(by.unvalued);
        for (count, more) in self.orders.iter_mut().zip(by.orders) {
            *count = count.saturating_add_signed(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORTH: Worth = Worth { num: 1, div: 100 };

    #[test]
    fn money_is_rounded_up_and_ends_at_the_cap() {
        assert_eq!(WORTH.of(3, 67), 3);
        assert_eq!(WORTH.of(0, 67), 0);
        assert_eq!(WORTH.of(1 << 60, 1 << 60), ((1i128 << 120) / 100 + 1).min(MONEY_CAP));
        assert_eq!(WORTH.of(u128::MAX, 1), MONEY_CAP);
        assert_eq!(WORTH.of(1 << 64, i64::MAX), MONEY_CAP);
        let exact = Worth { num: 7, div: 1 };
        assert_eq!(exact.of(1 << 62, 4), 7 << 64);
    }

    #[test]
    fn the_worst_case_is_that_one_side_fills() {
        let leaf = Leaf {
            position: 10,
            open: [5, 30],
            ..Leaf::default()
        };
        let worst = leaf.worst_with([1, 0], Some(WORTH), 200);
        assert_eq!((worst.long, worst.short, worst.gross), (32, -40, 40));
        assert!(leaf.worst_with([0, 0], Some(WORTH), 0).is_unvalued);
        assert!(leaf.worst_with([0, 0], None, 5).is_unvalued);
        assert_eq!(Leaf::default().worst_with([0, 0], None, 0), Worst::default());
    }

    #[test]
    fn a_sum_follows_its_leaves() {
        let mut leaf = Leaf::default();
        (leaf.position, leaf.open) = (-4, [0, 6]);
        leaf.worst = leaf.worst_with([0, 0], Some(WORTH), 100);
        let mut sum = Sum::default();
        sum.add(&Difference::of(&leaf, [0, 2]));
        assert_eq!((sum.position, sum.open, sum.gross, sum.short), (-4, [0, 6], 10, -10));
        assert_eq!(sum.orders, [0, 2]);
        sum.add(&Difference::of(&leaf, [0, 2]).away());
        assert_eq!((sum.position, sum.orders), (0, [0, 0]));
        assert_eq!((sum.gross, sum.long, sum.short, sum.unvalued), (0, 0, 0, 0));
    }
}
