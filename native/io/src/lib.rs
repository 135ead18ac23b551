//! tickd's native threads, files and signals: what the pure core must not know.

pub mod error;
pub mod event_fd;
pub mod live;
pub mod lock;
pub mod manifest;
pub mod queue;
pub mod raw_log;
pub mod reader;
pub mod recover;
pub mod sink_worker;
pub mod sys;
pub mod walk;
pub mod writer;
