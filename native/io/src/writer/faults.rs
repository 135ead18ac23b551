//! What the writer does when the disk does not do as told: repeat, wait, give a file up, write again, own up to a loss.

use std::fs;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::error::{LogError, Result};
use crate::live::LiveSegment;
use crate::lock::{lock, lock_path};
use crate::manifest::{self, Entry, Lost};
use crate::sys::{is_same_file, wall_ns};
use crate::writer::{Kept, Writer};

const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

impl Writer {
    /// Repeats `step` with backoff until it succeeds; gives up only when the log is closed and its deadline passed.
    pub(super) fn until_done(&mut self, mut step: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let Err(error) = step(self) else {
                if self.sync_backoff.is_none() {
                    self.shared.set_fault(None);
                }
                return Ok(());
            };
            self.report(&error);
            if !self.wait(backoff) {
                let bytes = self.shared.pending_bytes.load(Relaxed);
                return Err(LogError::Unwritten {
                    bytes,
                    fault: error.to_string(),
                });
            }
            // While the disk is full, the line that lets a file be removed must get through.
            let note = self.shared.queue().notes.pop_front();
            if let Some(note) = note {
                self.note(note);
            }
            // Best effort: what keeps it from healing is what the next try fails with.
            let _ = self.heal();
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn report(&self, error: &LogError) {
        self.shared.counters.faults.fetch_add(1, Relaxed);
        self.shared.set_fault(Some(error));
    }

    /// Waits; false when the log is being closed and its deadline has passed.
    fn wait(&self, backoff: Duration) -> bool {
        let until = Instant::now() + backoff;
        let mut queue = self.shared.queue();
        loop {
            let now = Instant::now();
            if queue.closing.is_some_and(|deadline| deadline <= now) {
                return false;
            }
            if until <= now {
                return true;
            }
            let due = queue.closing.map_or(until, |deadline| deadline.min(until));
            let waited = self
                .shared
                .changed
                .wait_timeout(queue, due.saturating_duration_since(now));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives the live segment up, because it cannot be asked again, and writes what it may have lost to a new one.
    pub(super) fn sync_failed(&mut self, error: &LogError) -> Result<()> {
        let backoff = self
            .sync_backoff
            .map_or(BACKOFF_FIRST, |before| (before * 2).min(BACKOFF_MAX));
        self.sync_backoff = Some(backoff);
        self.report(error);
        self.retire();
        if !self.wait(backoff) {
            let bytes = self.shared.pending_bytes.load(Relaxed);
            return Err(LogError::Unwritten {
                bytes,
                fault: error.to_string(),
            });
        }
        self.rewrite()
    }

    /// Gives the live segment up; the log goes on in another one.
    fn retire(&mut self) {
        if let Some(mut live) = self.live.take() {
            if let Ok(sealed) = live.finish(false, true) {
                self.previous = Some(sealed.hash);
            }
            self.given_up.push(live);
            self.bury();
        }
        self.shared.rotate_wanted.store(true, Release);
    }

    /// Seals what was given up, as suspect and without a sync. What cannot be done now is tried again behind the next good
    /// sync: a file that stays open makes the next start believe in a crash.
    pub(super) fn bury(&mut self) {
        for mut live in std::mem::take(&mut self.given_up) {
            let sealed = live.finish(false, true);
            match sealed.and_then(|sealed| live.rename(&self.layout).map(|()| sealed)) {
                Ok(mut sealed) => {
                    (sealed.suspect, sealed.clean) = (true, false);
                    self.retired.push(sealed);
                    failpoint!("raw.retire.renamed");
                }
                Err(_) => self.given_up.push(live),
            }
        }
    }

    /// Writes again what is not known to be on the disk, to a new segment.
    fn rewrite(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.unsynced);
        failpoint!("raw.retire.before_rewrite");
        for Kept { frame, entry } in &kept {
            self.until_done(|writer| writer.live(*entry)?.append(frame, *entry))?;
        }
        failpoint!("raw.retire.rewritten");
        self.unsynced = kept;
        self.unsynced_since = Some(Instant::now());
        Ok(())
    }

    /// Puts right what was deleted or replaced under the open files; does nothing while all is in its place.
    pub(super) fn heal(&mut self) -> Result<()> {
        if self.live.as_ref().is_some_and(LiveSegment::is_sick) {
            self.retire();
            return self.rewrite();
        }
        let in_place = self.live.as_ref().is_none_or(LiveSegment::is_in_place);
        if in_place && self.layout.segments.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.layout.root).map_err(LogError::io("create", &self.layout.root))?;
        self.layout.create()?;
        if !is_same_file(&self.lock, &lock_path(&self.layout)) {
            self.lock = lock(&self.layout)?;
        }
        self.manifest.renew_if_needed()?;
        self.note_missing()?;
        let Some(live) = &self.live else { return Ok(()) };
        if live.is_in_place() {
            return Ok(());
        }
        match live.salvage(&self.layout)? {
            Some(copy) => {
                self.live = Some(copy);
                Ok(())
            }
            None => self.give_up_live(),
        }
    }

    /// The live segment cannot be read any more: what is not kept in memory is lost, and said to be.
    fn give_up_live(&mut self) -> Result<()> {
        let Some(live) = &self.live else { return Ok(()) };
        let rescued = self.unsynced.first().map(|kept| kept.entry);
        if let Some(lost) = live.lost_before(rescued) {
            self.own_up(lost)?;
        }
        self.live = None;
        self.shared.rotate_wanted.store(true, Release);
        self.rewrite()
    }

    /// Sealed segments that somebody deleted, and that are in no object store: each is a loss, once.
    fn note_missing(&mut self) -> Result<()> {
        let known: Vec<Entry> = manifest::load(&self.layout.root)?.entries().collect();
        let segments = self.layout.segments.clone();
        for lost in manifest::deleted(&known, |name| segments.join(name).exists()) {
            self.own_up(lost)?;
        }
        Ok(())
    }

    /// Says what is lost: in the manifest, and by the tap in the log itself.
    fn own_up(&mut self, lost: Lost) -> Result<()> {
        self.manifest.append(&Entry::Lost(lost.clone()), wall_ns())?;
        self.shared.lose(manifest::Missing::from(&lost));
        Ok(())
    }
}
