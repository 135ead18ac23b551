//! Book synchronisation as a sans-I/O state machine per symbol: INIT → BUFFERING → SYNCED → GAP.
//!
//! It sees ids only, never levels: the same machine gives the decoder its verdicts and tells the book builder what to do
//! with each message. The rules are those of the venues' own "how to keep a local book" pages, with the accepts that
//! recordings showed to be necessary (see each rule).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::{BookState, ID_UNDEF};

/// Changes remembered while no snapshot joins, per symbol. 4,096 changes are more than 50 s of the busiest recorded
/// stream (78 a second); a snapshot takes about one second, and an older one is refused and fetched again.
pub const RUN_MAX: usize = 4096;

/// The venue's rule of continuity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// `U <= previous u + 1`; the snapshot joins when `U <= lastUpdateId + 1 <= u`.
    ///
    /// The documentation says `U <= lastUpdateId <= u`; four recorded starts of 2021 all have `U == lastUpdateId + 1`.
    BinanceSpot,
    /// `pu == previous u`; the snapshot joins when `U <= lastUpdateId <= u` or `pu == lastUpdateId`.
    ///
    /// The second form is not documented: 3 of 4 USD-M and 5 of 10 COIN-M starts recorded in 2021 need it. `U` is not
    /// `pu + 1`, the id space is shared over symbols.
    BinanceFutures,
    /// `prevSeqId == last seqId`; snapshots come in the stream. A keep-alive repeats the id (`seqId == prevSeqId`), a reset
    /// after maintenance lowers it (`seqId < prevSeqId`); both still name the last id, so neither is a gap.
    Okx,
    /// Every message is the whole book: nothing joins, a lost one heals with the next.
    Whole,
}

impl Rule {
    /// Whether snapshots come with the changes, so that each replaces whatever was before.
    pub(crate) const fn snapshots_in_stream(self) -> bool {
        matches!(self, Rule::Okx | Rule::Whole)
    }

    /// The ids among which every missing change lies, inclusive, when `verdict` is a broken chain that tells.
    pub fn missing(self, verdict: &Verdict) -> Option<(u64, u64)> {
        if verdict.state != BookState::Gap || verdict.last == ID_UNDEF || verdict.received == ID_UNDEF {
            return None;
        }
        let from = verdict.last.checked_add(1)?;
        let to = match self {
            Rule::BinanceSpot => verdict.received.checked_sub(1)?,
            // `received` is the previous id the change names: itself the newest missing one.
            Rule::BinanceFutures | Rule::Okx | Rule::Whole => verdict.received,
        };
        (from <= to).then_some((from, to))
    }
}

/// A conclusion of the synchroniser; becomes a BOOK_STATE event. Ids are `ID_UNDEF` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The state entered (BUFFERING again: a snapshot was refused).
    pub state: BookState,
    /// Last id of the book.
    pub last: u64,
    /// The id that was expected: spot the first id, elsewhere the previous id of the change; of a snapshot the oldest useful.
    pub expected: u64,
    /// The id that came in its place.
    pub received: u64,
}

/// What to do with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// Apply it to the book.
    Apply,
    /// Keep it: a snapshot may join in front of it.
    Keep,
    /// Keep it and forget what was kept: the chain broke in between.
    KeepOnly,
    /// It says nothing new.
    Ignore,
}

/// What to do with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSnapshot {
    /// The book becomes the snapshot, then every kept change with a newer last id is applied.
    Join,
    /// The book becomes the snapshot, but it is not live before a later change joins; kept changes are all older.
    Hold,
    /// It is older than what was kept: useless.
    Refuse,
    /// The book is live and not older.
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Init,
    Buffering,
    Synced,
    Gap,
}

impl State {
    const fn public(self) -> BookState {
        match self {
            State::Init => BookState::Init,
            State::Buffering => BookState::Buffering,
            State::Synced => BookState::Synced,
            State::Gap => BookState::Gap,
        }
    }
}

/// The ids of one kept change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ids {
    first: u64,
    last: u64,
    previous: Option<u64>,
}

/// One symbol's synchroniser. Serialisable: a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synchroniser {
    rule: Rule,
    state: State,
    /// Last id of the book; meaningful when SYNCED, kept in GAP to say what is missing.
    last: u64,
    /// `previous` of the last applied change: tells an exact repeat (OKX).
    previous: Option<u64>,
    /// Unbroken run of changes that wait for a snapshot, oldest first.
    run: VecDeque<Ids>,
    /// A snapshot that is newer than every change so far.
    held: Option<u64>,
    /// A snapshot is needed and none is held.
    wanted: bool,
    /// The live book was replaced by a newer snapshot: the next change need only join it.
    jumped: bool,
}

impl Synchroniser {
    /// A synchroniser in INIT.
    pub fn new(rule: Rule) -> Self {
        Synchroniser {
            rule,
            state: State::Init,
            last: ID_UNDEF,
            previous: None,
            run: VecDeque::new(),
            held: None,
            wanted: false,
            jumped: false,
        }
    }

    /// The rule it follows.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The present state.
    pub fn state(&self) -> BookState {
        self.state.public()
    }

    /// Last id of the book; `ID_UNDEF` before the first SYNCED and on venues without ids.
    pub fn last_id(&self) -> u64 {
        self.last
    }

    /// Whether a snapshot is needed. It becomes true together with a verdict, so "verdict and wanted" asks exactly once.
    pub fn snapshot_wanted(&self) -> bool {
        self.wanted
    }

    /// A change message arrived; `previous` is `pu`/`prevSeqId` where the venue gives one.
    pub fn change(&mut self, first: u64, last: u64, previous: Option<u64>) -> Option<Verdict> {
        self.on_change(first, last, previous).1
    }

    /// A snapshot arrived.
    pub fn snapshot(&mut self, last: u64) -> Option<Verdict> {
        self.on_snapshot(last).1
    }

    /// As `change`, and what to do with its levels.
    pub fn on_change(&mut self, first: u64, last: u64, previous: Option<u64>) -> (OnChange, Option<Verdict>) {
        let ids = Ids { first, last, previous };
        match self.state {
            State::Synced => self.continued(ids),
            State::Gap if self.wanted => (self.keep(ids), None),
            State::Init | State::Gap => {
                self.run.clear();
                let todo = self.keep(ids);
                self.wanted = true;
                (todo, Some(self.enter(State::Buffering, ID_UNDEF, first)))
            }
            State::Buffering => match self.held {
                Some(held) => self.joins_held(held, ids),
                None => (self.keep(ids), None),
            },
        }
    }

    /// As `snapshot`, and what to do with its levels.
    pub fn on_snapshot(&mut self, last: u64) -> (OnSnapshot, Option<Verdict>) {
        if self.rule.snapshots_in_stream() {
            return self.snapshot_in_stream(last);
        }
        if self.state == State::Synced {
            return (self.snapshot_of_live(last), None);
        }
        if self.held.is_some_and(|held| held > last) {
            return (OnSnapshot::Ignore, None);
        }
        // The first change that reaches beyond (or, futures, up to) the snapshot must join it; the others follow by the chain.
        let joining = self.run.iter().find(|ids| match self.rule {
            Rule::BinanceSpot => ids.last > last,
            Rule::BinanceFutures | Rule::Okx | Rule::Whole => ids.last >= last,
        });
        let Some(joining) = joining.copied() else {
            self.run.clear();
            self.held = Some(last);
            self.wanted = false;
            let moved = self.state != State::Buffering;
            return (
                OnSnapshot::Hold,
                moved.then(|| self.enter(State::Buffering, last, ID_UNDEF)),
            );
        };
        if !self.joins(last, joining) {
            self.wanted = true;
            return (
                OnSnapshot::Refuse,
                Some(self.enter(State::Buffering, joining.first, last)),
            );
        }
        let newest = self.run.back().copied().unwrap_or(joining);
        (OnSnapshot::Join, Some(self.live(newest, last, joining.first)))
    }

    /// Whoever saw a loss that this machine did not see (a consumer of events) may get a snapshot while it believes itself
    /// live. A newer one replaces the book at once, so that both agree again.
    fn snapshot_of_live(&mut self, last: u64) -> OnSnapshot {
        if last <= self.last {
            return OnSnapshot::Ignore;
        }
        self.last = last;
        self.previous = None;
        self.jumped = true;
        OnSnapshot::Join
    }

    /// The connection that carried the changes is gone. A live or buffering book enters GAP; the next change begins again.
    pub fn disconnect(&mut self) -> Option<Verdict> {
        self.run.clear();
        self.held = None;
        self.wanted = false;
        match self.state {
            State::Init | State::Gap => None,
            State::Buffering | State::Synced => Some(self.enter(State::Gap, ID_UNDEF, ID_UNDEF)),
        }
    }

    /// Something else than the ids proved the book wrong (a checksum, a full buffer): GAP, and a snapshot is wanted.
    pub fn distrust(&mut self, expected: u64, received: u64) -> Option<Verdict> {
        self.run.clear();
        self.held = None;
        let again = self.state == State::Gap && self.wanted;
        self.wanted = true;
        (!again).then(|| self.enter(State::Gap, expected, received))
    }

    /// Keeps only the newest `count` changes of the run (the builder's buffer is full).
    pub fn keep_newest(&mut self, count: usize) {
        let excess = self.run.len().saturating_sub(count);
        self.run.drain(..excess);
    }

    fn enter(&mut self, state: State, expected: u64, received: u64) -> Verdict {
        self.state = state;
        Verdict {
            state: state.public(),
            last: self.last,
            expected,
            received,
        }
    }

    fn live(&mut self, newest: Ids, expected: u64, received: u64) -> Verdict {
        self.last = newest.last;
        self.previous = newest.previous;
        self.run.clear();
        self.held = None;
        self.wanted = false;
        self.jumped = false;
        self.enter(State::Synced, expected, received)
    }

    /// A change of a live book.
    fn continued(&mut self, ids: Ids) -> (OnChange, Option<Verdict>) {
        if self.follows(self.last, ids) || (self.jumped && self.joins(self.last, ids)) {
            self.jumped = false;
            self.last = ids.last;
            self.previous = ids.previous;
            return (OnChange::Apply, None);
        }
        if self.repeats(ids) {
            return (OnChange::Ignore, None);
        }
        let todo = self.keep(ids);
        self.wanted = true;
        let (expected, received) = match self.rule {
            Rule::BinanceSpot => (self.last.saturating_add(1), ids.first),
            Rule::BinanceFutures | Rule::Okx | Rule::Whole => (self.last, ids.previous.unwrap_or(ID_UNDEF)),
        };
        (todo, Some(self.enter(State::Gap, expected, received)))
    }

    /// Whether `ids` is the next change after `last` and brings something newer.
    fn follows(&self, last: u64, ids: Ids) -> bool {
        match self.rule {
            Rule::BinanceSpot => ids.first <= last.saturating_add(1) && ids.last > last,
            Rule::BinanceFutures => ids.previous == Some(last) && ids.last >= last,
            // Recordings before sequence ids name no predecessor; their proof is the checksum, see `distrust`.
            Rule::Okx | Rule::Whole => ids.previous.is_none_or(|previous| previous == last),
        }
    }

    /// Whether `ids` was already seen.
    fn repeats(&self, ids: Ids) -> bool {
        match self.rule {
            Rule::BinanceSpot | Rule::BinanceFutures => ids.last <= self.last,
            // A lower id may be a reset whose message is missing; only the exact repeat is harmless.
            Rule::Okx | Rule::Whole => ids.last == self.last && ids.previous == self.previous,
        }
    }

    /// Whether a snapshot with id `snapshot` joins in front of `ids`.
    fn joins(&self, snapshot: u64, ids: Ids) -> bool {
        match self.rule {
            Rule::BinanceSpot => ids.first <= snapshot.saturating_add(1) && snapshot < ids.last,
            Rule::BinanceFutures | Rule::Okx | Rule::Whole => {
                (ids.first <= snapshot && snapshot <= ids.last) || ids.previous == Some(snapshot)
            }
        }
    }

    /// A change while a newer snapshot is held: it joins, is older, or shows that the snapshot is too old.
    fn joins_held(&mut self, held: u64, ids: Ids) -> (OnChange, Option<Verdict>) {
        if self.joins(held, ids) {
            return (OnChange::Apply, Some(self.live(ids, held, ids.first)));
        }
        if ids.last <= held {
            return (OnChange::Ignore, None);
        }
        self.held = None;
        self.wanted = true;
        let todo = self.keep(ids);
        (todo, Some(self.enter(State::Buffering, ids.first, held)))
    }

    /// Adds a change to the run, or begins the run again with it when the chain is broken.
    fn keep(&mut self, ids: Ids) -> OnChange {
        if self.rule.snapshots_in_stream() {
            // The next snapshot of the stream is newer than any change before it: nothing to keep.
            return OnChange::Ignore;
        }
        let todo = match self.run.back() {
            None => OnChange::KeepOnly,
            Some(newest) if self.follows(newest.last, ids) => OnChange::Keep,
            Some(newest) if ids.last <= newest.last => return OnChange::Ignore,
            Some(_) => OnChange::KeepOnly,
        };
        if todo == OnChange::KeepOnly {
            self.run.clear();
        }
        if self.run.len() == RUN_MAX {
            // Losing the oldest only raises the age a snapshot must have.
            self.run.pop_front();
        }
        self.run.push_back(ids);
        todo
    }

    fn snapshot_in_stream(&mut self, last: u64) -> (OnSnapshot, Option<Verdict>) {
        let moved = self.state != State::Synced;
        let verdict = self.live(
            Ids {
                first: last,
                last,
                previous: None,
            },
            last,
            last,
        );
        (OnSnapshot::Join, moved.then_some(verdict))
    }
}

#[cfg(test)]
mod tests;
