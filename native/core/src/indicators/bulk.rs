//! Bulk volume classification: the bought share of a bar from its price change.

use super::distribution::{normal, normals, student_quarter};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// A finite number above 0.
pub fn positive(x: f64) -> Result<f64> {
    if x > 0.0 && x < f64::INFINITY {
        Ok(x)
    } else {
        Err(Error::new(Reason::Malformed, 0))
    }
}

/// Which share of a bar's volume was bought, from its price change.
#[derive(Debug, Clone)]
pub struct Bulk {
    pub(super) sigma: f64, // 0: estimated
    pub(super) decay: f64,
    pub(super) is_student: bool,
    price: f64, // NaN before the first
    variance: f64,
    has_variance: bool,
}

saved_fields!(Bulk { sigma, decay, is_student, price, variance, has_variance } is_any);

impl Bulk {
    /// A fixed sigma, or one from the squared changes *before* each bar, averaged with weight `decay` on the past.
    pub fn new(sigma: Option<f64>, decay: f64, is_student: bool) -> Result<Self> {
        let sigma = sigma.map_or(Ok(0.0), positive)?;
        if !(decay > 0.0 && decay < 1.0) {
            return Err(Error::new(Reason::Malformed, 0));
        }
        Ok(Bulk {
            sigma,
            decay,
            is_student,
            price: f64::NAN,
            variance: 0.0,
            has_variance: false,
        })
    }

    fn is_any(&self) -> bool {
        true
    }

    /// Back to the beginning.
    pub fn reset(&mut self) {
        (self.price, self.variance, self.has_variance) = (f64::NAN, 0.0, false);
    }

    /// The bought share of a bar that ended at `price`; 1/2 for the first.
    #[inline(always)]
    pub fn share(&mut self, price: f64) -> f64 {
        let change = price - self.price;
        let is_first = self.price.is_nan();
        self.price = price;
        if is_first {
            return 0.5;
        }
        let sigma = if self.sigma > 0.0 {
            self.sigma
        } else {
            self.estimate(change)
        };
        if change == 0.0 {
            return 0.5; // what most trades leave the price at
        }
        let x = change / sigma; // infinite when sigma is 0: the sign decides
        if self.is_student {
            student_quarter(x)
        } else {
            normal(x)
        }
    }

    /// The share of each bar, in order.
    pub fn shares(&mut self, prices: &[f64], out: &mut [f64]) {
        if self.is_student || self.sigma == 0.0 || self.price.is_nan() {
            for (slot, price) in out.iter_mut().zip(prices) {
                *slot = self.share(*price);
            }
            return;
        }
        // First all changes, by pairs, then the distribution of each.
        let before = std::iter::once(&self.price).chain(prices);
        for (slot, (now, before)) in out.iter_mut().zip(prices.iter().zip(before)) {
            *slot = (now - before) / self.sigma;
        }
        normals(out);
        self.price = prices.last().copied().unwrap_or(self.price);
    }

    /// Sigma before this change, which then joins the estimate.
    #[inline]
    fn estimate(&mut self, change: f64) -> f64 {
        let sigma = self.variance.sqrt();
        let square = change * change;
        self.variance = if self.has_variance {
            self.decay * self.variance + (1.0 - self.decay) * square
        } else {
            square
        };
        self.has_variance = true;
        sigma
    }
}
