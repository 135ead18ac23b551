//! Module `tickd._native`: the list of what Python sees, nothing else.

use pyo3::prelude::*;

mod batch;
mod block;
mod block_builder;
mod book;
mod burst_queue;
mod bus;
mod bus_delivery;
mod bus_handler;
mod bus_queue;
mod bus_routes;
mod cpython;
mod decoder;
mod direct;
mod direct_check;
mod dispatch;
mod dispatch_loop;
mod errors;
mod feed;
mod halt;
mod halt_probe;
mod histogram;
mod hosted;
mod indicators;
mod last_values;
mod lent;
mod manifest;
mod market;
mod paper;
mod raw_log;
mod raw_log_files;
mod record_heads;
mod ring;
mod risk;
mod risk_numbers;
mod sim;
mod sink;
mod stopwatch;
mod sync_thread;
mod topic_latency;
mod topic_queues;
mod view_reuse;
mod views;

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add(
        "build_profile",
        if cfg!(debug_assertions) { "debug" } else { "release" },
    )?;
    m.add("NativeError", m.py().get_type::<errors::NativeError>())?;
    m.add_class::<batch::EventBatch>()?;
    m.add_class::<book::L2Book>()?;
    m.add_class::<book::L3Book>()?;
    decoder::register(m)?;
    m.add_class::<histogram::Histogram>()?;
    m.add_class::<histogram::HistogramWindow>()?;
    m.add_class::<dispatch::Dispatch>()?;
    m.add_class::<last_values::LastValues>()?;
    views::register(m)?;
    indicators::register(m)?;
    m.add_class::<raw_log::RawLog>()?;
    raw_log_files::register(m)?;
    m.add_function(wrap_pyfunction!(record_heads::record_heads, m)?)?;
    manifest::register(m)?;
    m.add_class::<block::Block>()?;
    m.add_class::<sink::Cut>()?;
    m.add_class::<sink::SinkWorker>()?;
    block_builder::register(m)?;
    m.add_class::<bus::BusCore>()?;
    m.add_class::<bus_handler::BusHandler>()?;
    m.add_class::<topic_latency::TopicLatency>()?;
    m.add_class::<topic_queues::TopicQueues>()?;
    m.add_class::<burst_queue::BurstQueue>()?;
    m.add_class::<sim::SimMarket>()?;
    m.add_class::<feed::FeedWriter>()?;
    m.add_class::<feed::FeedReplay>()?;
    m.add_class::<paper::PaperExchange>()?;
    m.add_class::<ring::RingReader>()?;
    m.add_class::<ring::RingWriter>()?;
    m.add_class::<risk::GateCore>()?;
    direct_check::install(m.py())?;
    halt::register(m)?;
    m.add_class::<sync_thread::SyncThread>()?;
    m.add_class::<halt_probe::HaltProbe>()?;
    Ok(())
}
