//! A thread that makes one file durable, group after group, and rings when it has.
//!
//! Whoever writes says how far the file shall be durable; everything said while one sync runs is the next group. A
//! sync that failed is never repeated: what the kernel then holds of the file is unknown, so the file is given up.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::event_fd::{EventFd, Owned};

/// An error without a number of the system's.
const ERRNO_UNKNOWN: i32 = -1;

#[derive(Debug, Default)]
struct Wanted {
    position: u64,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    synced: AtomicU64,
    errno: AtomicI32,
    bell: EventFd,
}

/// One file and the thread that syncs it.
#[derive(Debug)]
pub struct SyncThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    /// Begins for `file`; `directory` is synced with the first group: the file's name may be new.
    /// Errors: no descriptors or threads left.
    pub fn start(file: Owned, directory: Option<Owned>) -> io::Result<Self> {
        let (file, directory) = (file_of(file), directory.map(file_of));
        let shared = Arc::new(Shared {
            wanted: Mutex::default(),
            changed: Condvar::new(),
            synced: AtomicU64::new(0),
            errno: AtomicI32::new(0),
            bell: EventFd::new()?,
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tickd-sync".to_owned())
            .spawn(move || run(&theirs, &file, directory))?;
        Ok(SyncThread {
            shared,
            thread: Some(thread),
        })
    }

    /// Everything before `position` shall be durable; never waits for the disk.
    pub fn want(&self, position: u64) {
        let mut wanted = self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if position > wanted.position {
            wanted.position = position;
            self.shared.changed.notify_one();
        }
    }

    /// How far the file is durable.
    pub fn synced(&self) -> u64 {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// The system's number of the error that ended the thread; 0: none.
    pub fn errno(&self) -> i32 {
        self.shared.errno.load(Ordering::Acquire)
    }

    /// What becomes readable with every group.
    pub fn bell(&self) -> &EventFd {
        &self.shared.bell
    }

    /// Ends the thread behind the sync in hand, without waiting for that; what was wanted after it stays undone.
    pub fn leave(&mut self) {
        let mut wanted = self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.stop = true;
        self.shared.changed.notify_one();
        drop(wanted);
        // The thread owns its descriptors and ends by itself.
        self.thread = None;
    }

    /// Ends the thread and waits for it.
    pub fn stop(&mut self) {
        let thread = self.thread.take();
        self.leave();
        if let Some(thread) = thread {
            // A panic of the thread has been shown by its own hook.
            let _ = thread.join();
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(unix)]
fn file_of(fd: Owned) -> File {
    File::from(fd)
}

#[cfg(not(unix))]
fn file_of(fd: Owned) -> File {
    match fd {}
}

fn run(shared: &Shared, file: &File, mut directory: Option<File>) {
    let mut done = 0;
    while let Some(position) = next(shared, done) {
        let synced = file
            .sync_data()
            .and_then(|()| directory.take().map_or(Ok(()), |directory| directory.sync_all()));
        match synced {
            Ok(()) => {
                done = position;
                shared.synced.store(done, Ordering::Release);
                shared.bell.ring();
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(ERRNO_UNKNOWN);
                shared.errno.store(errno, Ordering::Release);
                shared.bell.ring();
                return;
            }
        }
    }
}

fn next(shared: &Shared, done: u64) -> Option<u64> {
    let mut wanted = shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
    while wanted.position <= done && !wanted.stop {
        wanted = shared.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
    }
    (!wanted.stop).then_some(wanted.position)
}

#[cfg(test)]
mod tests {
    use super::SyncThread;

    #[cfg(unix)]
    #[test]
    fn a_group_is_synced_and_rung() {
        let file = tempfile::tempfile().unwrap();
        let mut thread = SyncThread::start(file.into(), None).unwrap();
        for position in [7, 3, 9] {
            thread.want(position);
        }
        while thread.synced() < 9 {
            thread.bell().wait(None, 1000);
            thread.bell().clear();
        }
        assert_eq!(thread.errno(), 0);
        thread.stop();
        thread.want(12);
        assert_eq!(thread.synced(), 9);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_failed_sync_ends_the_thread_and_rings() {
        // A pipe cannot be synced.
        let (end, _other) = std::io::pipe().unwrap();
        let thread = SyncThread::start(end.into(), None).unwrap();
        thread.want(1);
        assert_eq!(thread.bell().wait(None, 5000), (true, false));
        assert_eq!((thread.synced(), thread.errno()), (0, 22));
    }
}
