//! `TopicLatency`: how long each topic's events took, counted once per batch.

use pyo3::prelude::*;
use tickd_core::topic_latency::TopicLatency as Core;

use crate::batch::EventBatch;

/// A small histogram per topic.
#[pyclass(module = "tickd._native")]
#[derive(Default)]
pub struct TopicLatency {
    core: Core,
}

#[pymethods]
impl TopicLatency {
    #[new]
    fn new() -> Self {
        TopicLatency::default()
    }

    /// Counts the events of a batch, by topic, as having taken `ns`.
    fn record(&mut self, batch: &Bound<'_, EventBatch>, ns: u64) {
        let (batch, start, stop) = batch.get().parts();
        self.core.record(batch.ranges_within(start, stop), ns);
    }

    /// Events of these topics together since the start: (upper edge of a bucket in ns, events), ascending.
    fn counts(&self, topics: Vec<u32>) -> Vec<(u64, u64)> {
        self.core.counts(&topics)
    }

    /// Per topic that had events: its number, the events, upper edge of the bucket that holds the quantile 0..=1 (ns).
    fn quantiles(&self, q: f64) -> Vec<(u32, u64, u64)> {
        let rows = self.core.quantiles(q);
        rows.map(|each| (each.topic, each.events, each.ns)).collect()
    }
}
