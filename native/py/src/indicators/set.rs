//! `IndicatorSet`: the face of a set of indicators; one border call per batch.
//!
//! Who gets what is asked of Python once per topic; everything else happens in the core.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tickd_core::batch::Batch;
use tickd_core::block;
use tickd_core::decode::venues;
use tickd_core::indicators::member::{restore, Takes};
use tickd_core::indicators::set::{Feed, IndicatorSet as Core, Spec};

use super::arrays::run;
use super::face::bad_state;
use crate::batch::EventBatch;
use crate::errors::to_py;

/// Many indicators advanced in one pass over a batch, in the order of the node.
#[pyclass(module = "tickd._native")]
pub struct IndicatorSet {
    core: Core,
    resolve: Py<PyAny>,
}

#[pymethods]
impl IndicatorSet {
    #[new]
    fn new(specs: Vec<(u32, Vec<u8>, bool)>, resolve: Py<PyAny>) -> PyResult<Self> {
        let made = specs.into_iter().map(|(id, snapshot, every)| {
            let start = restore(&snapshot).map_err(|error| bad_state(&error))?;
            Ok(Spec { id, every, start })
        });
        Ok(IndicatorSet {
            core: Core::new(made.collect::<PyResult<_>>()?),
            resolve,
        })
    }

    fn define(&mut self, py: Python<'_>, definition: PyBuffer<u8>) -> PyResult<()> {
        let json = definition.to_vec(py)?;
        let known = block::definition(&json).map_err(|error| to_py(error, "instrument definition"))?;
        self.core.define(known.id(), known.price_scale, known.size_scale);
        Ok(())
    }

    /// Rows of 40 bytes: seq, ts_event, ts_recv, value, instrument, place of the indicator.
    fn rows<'py>(&mut self, py: Python<'py>, batch: &Bound<'py, EventBatch>) -> PyResult<Bound<'py, PyBytes>> {
        let whole = batch.get().to_whole();
        self.learn(py, &whole)?;
        let core = &mut self.core;
        let bytes = run(py, whole.events.len(), || {
            let mut bytes = Vec::new();
            for row in core.rows(&whole) {
                bytes.extend_from_slice(&row.seq.to_le_bytes());
                bytes.extend_from_slice(&row.ts_event.to_le_bytes());
                bytes.extend_from_slice(&row.ts_recv.to_le_bytes());
                bytes.extend_from_slice(&row.value.to_le_bytes());
                bytes.extend_from_slice(&row.instrument.to_le_bytes());
                bytes.extend_from_slice(&row.indicator.to_le_bytes());
            }
            bytes
        });
        Ok(PyBytes::new(py, &bytes))
    }

    fn signals(&mut self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> PyResult<Option<EventBatch>> {
        let whole = batch.get().to_whole();
        self.learn(py, &whole)?;
        let core = &mut self.core;
        let made = run(py, whole.events.len(), || core.signals(&whole));
        Ok(made.map(EventBatch::new))
    }

    #[getter]
    fn undefined(&self) -> u64 {
        self.core.undefined
    }

    #[getter]
    fn values_count(&self) -> u64 {
        self.core.values
    }

    #[getter]
    fn signals_count(&self) -> u64 {
        self.core.signals
    }
}

impl IndicatorSet {
    /// Asks about the topics that come for the first time.
    fn learn(&mut self, py: Python<'_>, batch: &Batch) -> PyResult<()> {
        for range in &batch.topics {
            if self.core.knows(range.topic) {
                continue;
            }
            let answer = self.resolve.call1(py, (range.topic,))?;
            let (signals, venue, members): (u32, String, Vec<usize>) = answer.extract(py)?;
            let decoder = venues::number(&venue).and_then(venues::decoder);
            let rule = decoder.map(|decoder| decoder.rule());
            self.core.bind(range.topic, &Feed { signals, rule, members });
        }
        Ok(())
    }
}

/// What a set feeds an indicator with.
#[pyfunction]
fn indicator_takes(snapshot: &[u8]) -> PyResult<&'static str> {
    match restore(snapshot) {
        Ok(member) => Ok(match member.takes() {
            Takes::Quotes => "quotes",
            Takes::Trades => "trades",
            Takes::Levels(_) => "levels",
            Takes::Prices => "prices",
        }),
        Err(error) => Err(PyValueError::new_err(format!("no indicator of a set: {error}"))),
    }
}

/// Exports them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<IndicatorSet>()?;
    m.add_function(wrap_pyfunction!(indicator_takes, m)?)
}
