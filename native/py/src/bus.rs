//! `BusCore`: the bus's data plane as Python sees it. Loop thread only; another thread is refused.

use std::rc::Rc;

use pyo3::prelude::*;

use crate::batch::EventBatch;
use crate::burst_queue::BurstQueue;
use crate::bus_delivery::Bus;
use crate::bus_handler::BusHandler;
use crate::bus_routes::Whole;
use crate::cpython::OneThread;
use crate::topic_queues::TopicQueues;

/// Where batches are published.
#[pyclass(frozen, module = "tickd._native")]
pub struct BusCore(OneThread<Bus>);

#[pymethods]
impl BusCore {
    #[new]
    #[pyo3(signature = (resolve, on_failure, on_turn, on_drops, seq=0))]
    fn new(resolve: Py<PyAny>, on_failure: Py<PyAny>, on_turn: Py<PyAny>, on_drops: Py<PyAny>, seq: u64) -> Self {
        BusCore(OneThread::new(Bus::new(resolve, on_failure, on_turn, on_drops, seq)))
    }

    /// Highest sequence number published.
    #[getter]
    fn seq(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.0.get(py)?.seq.get())
    }

    #[getter]
    fn events(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.0.get(py)?.events.get())
    }

    #[getter]
    fn batches(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.0.get(py)?.batches.get())
    }

    /// Whether a batch or a control message is being handled now.
    #[getter]
    fn dispatching(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.get(py)?.dispatching.get())
    }

    /// Queues that take what is published from now on; `wake()` is called once when something came after `arm()`.
    #[pyo3(signature = (wake, when_full, records_max, records_total_max, age_ns_max, quantum))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the stub's signature, and the token of attachment"
    )]
    fn topic_queues(
        &self,
        py: Python<'_>,
        wake: Py<PyAny>,
        when_full: &str,
        records_max: usize,
        records_total_max: usize,
        age_ns_max: i64,
        quantum: usize,
    ) -> PyResult<TopicQueues> {
        let bus = self.0.get(py)?;
        let limits = (records_max, records_total_max, age_ns_max);
        TopicQueues::new(
            wake,
            when_full,
            limits,
            quantum,
            bus.seq.get(),
            Rc::clone(&bus.names),
            Rc::clone(&bus.drops),
        )
    }

    /// The same for a consumer of whole batches.
    fn burst_queue(
        &self,
        py: Python<'_>,
        wake: Py<PyAny>,
        when_full: &str,
        records_max: usize,
        age_ns_max: i64,
    ) -> PyResult<BurstQueue> {
        let bus = self.0.get(py)?;
        let limits = (records_max, records_max, age_ns_max);
        BurstQueue::new(
            wake,
            when_full,
            limits,
            bus.seq.get(),
            Rc::clone(&bus.names),
            Rc::clone(&bus.drops),
        )
    }

    /// A synchronous consumer of what is published from now on.
    fn handler(&self, py: Python<'_>, call: Py<PyAny>, failures_max: u64) -> PyResult<BusHandler> {
        let bus = self.0.get(py)?;
        bus.handlers.set(bus.handlers.get() + 1);
        Ok(BusHandler::new(call, bus.handlers.get(), bus.seq.get(), failures_max))
    }

    /// After a change of subscribers: who gets batches whole, which queues are atomic, whether topics have handlers.
    /// Topics are asked about again.
    fn set_subscribers(
        &self,
        py: Python<'_>,
        bursts: Vec<Bound<'_, BurstQueue>>,
        burst_handlers: Vec<Bound<'_, BusHandler>>,
        queues: Vec<Bound<'_, TopicQueues>>,
        topics_with_handlers: bool,
    ) -> PyResult<()> {
        let handlers = burst_handlers.iter().map(|handler| handler.get().inner(py));
        let whole = Whole {
            queues: bursts
                .iter()
                .map(|queue| queue.get().inner(py))
                .collect::<PyResult<_>>()?,
            handlers: handlers.collect::<PyResult<_>>()?,
        };
        let queues = queues.iter().map(|queue| queue.get().inner(py));
        let queues = queues.collect::<PyResult<_>>()?;
        self.0.get(py)?.routes.set(whole, queues, topics_with_handlers);
        Ok(())
    }

    /// Whether a queue with `block` has no room for the batch.
    fn blocked(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> PyResult<bool> {
        self.0.get(py)?.routes.plan(py, &batch.get().to_whole(), false)
    }

    /// Delivers a batch; from inside a handler, after the one being dispatched.
    fn publish(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        self.0.get(batch.py())?.publish(batch)
    }

    /// Delivers batches in their order; control messages that come up meanwhile go between them.
    fn publish_many(&self, batches: &Bound<'_, PyAny>) -> PyResult<()> {
        let bus = self.0.get(batches.py())?;
        for batch in batches.try_iter()? {
            bus.publish(batch?.cast::<EventBatch>()?)?;
        }
        Ok(())
    }

    /// The drops so far have been reported; the next one calls `on_drops` again.
    fn drops_reported(&self, py: Python<'_>) -> PyResult<()> {
        let bus = self.0.get(py)?;
        bus.drops.set(false);
        bus.drops_noted.set(false);
        Ok(())
    }

    /// Has `on_turn` run as soon as nothing is being handled: at once, or before the next batch.
    fn want_turn(&self, py: Python<'_>) -> PyResult<()> {
        let bus = self.0.get(py)?;
        bus.turn_wanted.set(true);
        if bus.dispatching.get() {
            return Ok(());
        }
        bus.alone(|| bus.finish(py))
    }
}
