//! When something happens, and in which symbol: one self-exciting (Hawkes) process per symbol, merged in time order.
//!
//! The kernel is exponential, so that the intensity is a recursion of one number, and the next arrival is drawn exactly,
//! without rejection (Dassios and Zhao, "Exact simulation of Hawkes process with exponentially decaying intensity", 2013).

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::BinaryHeap;

use super::random::Random;

const NS_PER_S: f64 = 1e9;
/// Beyond this no arrival is scheduled: three hundred years would overflow the nanoseconds.
const WAIT_S_MAX: f64 = 1e9;

/// What all processes of a market share.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Mean number of direct children of an arrival, `0 <= branching < 1`.
    pub branching: f64,
    /// How fast excitement decays, 1/s.
    pub decay_per_s: f64,
}

#[derive(Debug, Clone)]
struct Process {
    baseline: f64, // arrivals/s without excitement
    excess: f64,   // intensity above the baseline just after the last arrival
    at_ns: i64,    // the last arrival drawn
}

impl Process {
    fn draw(&mut self, shape: Shape, random: &mut Random) -> i64 {
        let spontaneous = random.exponential() / self.baseline;
        let remaining = 1.0 - random.exponential() * shape.decay_per_s / self.excess.max(f64::MIN_POSITIVE);
        let excited = if remaining > 0.0 {
            -remaining.ln() / shape.decay_per_s
        } else {
            f64::INFINITY
        };
        let (wait, left) = if excited < spontaneous {
            (excited, remaining)
        } else {
            (spontaneous, (-shape.decay_per_s * spontaneous).exp())
        };
        self.excess = self.excess * left + shape.branching * shape.decay_per_s;
        self.at_ns = self.at_ns.saturating_add((wait.min(WAIT_S_MAX) * NS_PER_S) as i64);
        self.at_ns
    }
}

/// The merged arrivals of all symbols.
#[derive(Debug, Clone)]
pub struct Arrivals {
    shape: Shape,
    weights: Vec<f64>, // share of each symbol, sum 1
    processes: Vec<Process>,
    next: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Arrivals {
    /// `count` symbols whose activity falls as rank^-zipf, together `per_s` arrivals per second from `start_ns` on.
    pub fn new(count: usize, zipf: f64, per_s: f64, shape: Shape, start_ns: i64, random: &mut Random) -> Self {
        let raw: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-zipf)).collect();
        let total: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|weight| weight / total).collect();
        let mut processes: Vec<Process> = weights
            .iter()
            .map(|_| Process {
                baseline: 1.0,
                excess: 0.0,
                at_ns: start_ns,
            })
            .collect();
        for (process, weight) in processes.iter_mut().zip(&weights) {
            process.baseline = weight * per_s * (1.0 - shape.branching);
            process.excess = weight * per_s * shape.branching; // its stationary mean: no warming up
        }
        let next = processes
            .iter_mut()
            .enumerate()
            .map(|(symbol, process)| Reverse((process.draw(shape, random), symbol as u32)))
            .collect();
        Arrivals {
            shape,
            weights,
            processes,
            next,
        }
    }

    /// The time of the next arrival, ns.
    #[inline]
    pub fn next_ns(&self) -> i64 {
        self.next.peek().map_or(i64::MAX, |Reverse((at, _))| *at)
    }

    /// Takes the next arrival and draws its successor: the symbol's number.
    #[inline]
    pub fn take(&mut self, random: &mut Random) -> Option<usize> {
        let mut top = self.next.peek_mut()?;
        let Reverse((_, symbol)) = *top;
        match self.processes.get_mut(symbol as usize) {
            Some(process) => *top = Reverse((process.draw(self.shape, random), symbol)),
            None => {
                PeekMut::pop(top);
            }
        }
        Some(symbol as usize)
    }

    /// Moves everything that is still to come by `delta_ns`.
    pub fn shift(&mut self, delta_ns: i64) {
        for process in &mut self.processes {
            process.at_ns = process.at_ns.saturating_add(delta_ns);
        }
        let shifted = self
            .next
            .drain()
            .map(|Reverse((at, symbol))| Reverse((at.saturating_add(delta_ns), symbol)));
        self.next = shifted.collect::<Vec<_>>().into();
    }

    /// From now on `per_s` arrivals per second; arrivals already drawn stay.
    pub fn set_rate(&mut self, per_s: f64) {
        for (process, weight) in self.processes.iter_mut().zip(&self.weights) {
            process.baseline = weight * per_s * (1.0 - self.shape.branching);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        branching: 0.6,
        decay_per_s: 100.0,
    };

    fn counts(shape: Shape, window_ns: i64, windows: usize) -> Vec<f64> {
        let mut random = Random::new(3);
        let mut arrivals = Arrivals::new(1, 1.0, 1_000.0, shape, 0, &mut random);
        (1..=windows as i64)
            .map(|window| {
                let mut count = 0.0;
                while arrivals.next_ns() <= window * window_ns {
                    arrivals.take(&mut random);
                    count += 1.0;
                }
                count
            })
            .collect()
    }

    fn fano(counts: &[f64]) -> (f64, f64) {
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        (mean, variance / mean)
    }

    #[test]
    fn test_counts_keep_the_rate_and_are_overdispersed_as_hawkes_says() {
        // Windows far longer than the memory: variance / mean -> 1 / (1 - branching)^2 = 6.25.
        let (mean, dispersion) = fano(&counts(SHAPE, 1_000_000_000, 2_000));
        assert!((mean / 1_000.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((5.0..7.5).contains(&dispersion), "{dispersion}");
    }

    #[test]
    fn test_without_branching_it_is_poisson() {
        let (mean, dispersion) = fano(&counts(
            Shape {
                branching: 0.0,
                ..SHAPE
            },
            1_000_000_000,
            2_000,
        ));
        assert!((mean / 1_000.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((0.85..1.15).contains(&dispersion), "{dispersion}");
    }

    #[test]
    fn test_activity_follows_zipf_and_time_never_goes_back() {
        let mut random = Random::new(9);
        let mut arrivals = Arrivals::new(10, 1.0, 10_000.0, SHAPE, 5, &mut random);
        let (mut seen, mut last) = ([0f64; 10], 5);
        for _ in 0..200_000 {
            let at = arrivals.next_ns();
            assert!(at >= last);
            last = at;
            seen[arrivals.take(&mut random).unwrap()] += 1.0;
        }
        for rank in 2..=10usize {
            let ratio = seen[0] / seen[rank - 1] / rank as f64;
            assert!((ratio - 1.0).abs() < 0.15, "rank {rank}: {ratio}");
        }
    }
}
