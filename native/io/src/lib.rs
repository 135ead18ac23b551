//! tickd's native threads, files and signals: what the pure core must not know.

pub mod event_fd;
pub mod sink_worker;
