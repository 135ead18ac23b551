//! `SyncThread`: a native thread that makes a file of Python's durable, so that neither the loop nor the GIL waits for a disk.

use std::io;

use pyo3::prelude::*;
use tickd_io::shared::duplicate_of;
use tickd_io::sync_thread::SyncThread as Thread;

/// One file's thread.
#[pyclass(module = "tickd._native")]
pub struct SyncThread {
    thread: Thread,
}

#[pymethods]
impl SyncThread {
    /// Begins for a descriptor, which stays open and the caller's; so does `directory`, synced with the first group.
    /// Raises OSError.
    #[new]
    #[pyo3(signature = (fd, directory=None))]
    fn new(fd: i32, directory: Option<i32>) -> PyResult<Self> {
        let begin =
            || -> io::Result<Thread> { Thread::start(duplicate_of(fd)?, directory.map(duplicate_of).transpose()?) };
        Ok(SyncThread { thread: begin()? })
    }

    /// Everything before `position` shall be durable; never waits for the disk.
    fn want(&self, position: u64) {
        self.thread.want(position);
    }

    /// How far the file is durable.
    #[getter]
    fn synced(&self) -> u64 {
        self.thread.synced()
    }

    /// The number of the error that ended the thread; 0: none.
    #[getter]
    fn errno(&self) -> i32 {
        self.thread.errno()
    }

    /// Readable with every group, and with an error.
    fn fileno(&self) -> i32 {
        self.thread.bell().raw()
    }

    /// Silences `fileno()`; look at `synced` and `errno` behind it.
    fn hush(&self) {
        self.thread.bell().clear();
    }

    /// Ends the thread behind the sync in hand; does not wait for that.
    fn leave(&mut self) {
        self.thread.leave();
    }

    /// Ends the thread and waits for it, without the GIL.
    fn stop(&mut self, py: Python<'_>) {
        let thread = &mut self.thread;
        py.detach(|| thread.stop());
    }
}
