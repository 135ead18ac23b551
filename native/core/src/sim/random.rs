//! Randomness of the simulated market: a small seeded generator and power-law tables. Not for secrets.

/// xoshiro256++ (Blackman and Vigna, public domain), seeded through splitmix64 so that any seed is a good one.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Random { state }
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Uniform in (0, 1]: its logarithm is finite.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Exponential with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }
}

/// `numerator / denominator` of the 32 upper random bits: 0 ..= `n - 1`, for small `n`.
#[inline]
pub fn below(bits: u32, n: u32) -> u32 {
    ((u64::from(bits) * u64::from(n)) >> 32) as u32
}

const QUANTILES: usize = 1024;

/// A power law truncated to `1 ..= max`, as 1024 equally likely values: one lookup per draw.
#[derive(Debug, Clone)]
pub struct PowerLaw {
    values: Vec<u32>,
}

impl PowerLaw {
    /// P(X > x) ~ x^-exponent.
    pub fn new(exponent: f64, max: u32) -> Self {
        let floor = f64::from(max).powf(-exponent);
        let values = (0..QUANTILES)
            .map(|i| {
                let u = (i as f64 + 0.5) / QUANTILES as f64;
                let tail = (1.0 - u) + u * floor;
                (tail.powf(-1.0 / exponent) as u32).clamp(1, max)
            })
            .collect();
        PowerLaw { values }
    }

    /// The value that the low ten of `bits` choose.
    #[inline]
    pub fn pick(&self, bits: u64) -> u32 {
        self.values.get(bits as usize % QUANTILES).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_same_seed_gives_the_same_bits() {
        let (mut a, mut b, mut c) = (Random::new(7), Random::new(7), Random::new(8));
        let left: Vec<u64> = (0..8).map(|_| a.bits()).collect();
        assert_eq!(left, (0..8).map(|_| b.bits()).collect::<Vec<_>>());
        assert_ne!(left, (0..8).map(|_| c.bits()).collect::<Vec<_>>());
    }

    #[test]
    fn test_unit_is_uniform_and_never_zero() {
        let mut random = Random::new(1);
        let draws: Vec<f64> = (0..100_000).map(|_| random.unit()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert!(draws.iter().all(|u| *u > 0.0 && *u <= 1.0));
    }

    #[test]
    fn test_power_law_has_its_tail() {
        let law = PowerLaw::new(1.0, 10_000);
        let over = |x: u32| law.values.iter().filter(|v| **v >= x).count() as f64 / QUANTILES as f64;
        assert!((over(2) - 0.5).abs() < 0.01 && (over(10) - 0.1).abs() < 0.01);
        assert!(law.values.iter().all(|v| (1..=10_000).contains(v)));
    }
}
