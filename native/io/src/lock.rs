//! One writer per directory: the lock file, which names its owner and goes with the process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{LogError, Result};
use crate::live::{sync_directory, Layout};
use crate::sys::lock_exclusive;

/// A command that only adds a line to the manifest holds the lock for milliseconds; nobody should fail because of it.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// The lock file of a raw log.
pub fn lock_path(layout: &Layout) -> PathBuf {
    layout.root.join("LOCK")
}

/// Takes the directory for this process. Errors: `Locked` with the owner's pid; the file cannot be written.
pub fn lock(layout: &Layout) -> Result<File> {
    let path = lock_path(layout);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut file = opened.map_err(LogError::io("open", &path))?;
    let until = Instant::now() + PATIENCE;
    while !lock_exclusive(&file).map_err(LogError::io("lock", &path))? {
        if Instant::now() < until {
            std::thread::sleep(PAUSE);
            continue;
        }
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(LogError::io("read", &path))?;
        return Err(LogError::Locked {
            path,
            pid: pid.trim().to_owned(),
        });
    }
    let written = file.set_len(0).and_then(|()| file.rewind());
    written
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(LogError::io("write", &path))?;
    sync_directory(&layout.root)?;
    Ok(file)
}
