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
}

impl Rule {
    /// The ids among which every missing change lies, inclusive, when `verdict` is a broken chain that tells.
    pub fn missing(self, verdict: &Verdict) -> Option<(u64, u64)> {
        if verdict.state != BookState::Gap || verdict.last == ID_UNDEF || verdict.received == ID_UNDEF {
            return None;
        }
        let from = verdict.last.checked_add(1)?;
        let to = match self {
            Rule::BinanceSpot => verdict.received.checked_sub(1)?,
            // `received` is the previous id the change names: itself the newest missing one.
            Rule::BinanceFutures | Rule::Okx => verdict.received,
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
        if self.rule == Rule::Okx {
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
            Rule::BinanceFutures | Rule::Okx => ids.last >= last,
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
            Rule::BinanceFutures | Rule::Okx => (self.last, ids.previous.unwrap_or(ID_UNDEF)),
        };
        (todo, Some(self.enter(State::Gap, expected, received)))
    }

    /// Whether `ids` is the next change after `last` and brings something newer.
    fn follows(&self, last: u64, ids: Ids) -> bool {
        match self.rule {
            Rule::BinanceSpot => ids.first <= last.saturating_add(1) && ids.last > last,
            Rule::BinanceFutures => ids.previous == Some(last) && ids.last >= last,
            // Recordings before sequence ids name no predecessor; their proof is the checksum, see `distrust`.
            Rule::Okx => ids.previous.is_none_or(|previous| previous == last),
        }
    }

    /// Whether `ids` was already seen.
    fn repeats(&self, ids: Ids) -> bool {
        match self.rule {
            Rule::BinanceSpot | Rule::BinanceFutures => ids.last <= self.last,
            // A lower id may be a reset whose message is missing; only the exact repeat is harmless.
            Rule::Okx => ids.last == self.last && ids.previous == self.previous,
        }
    }

    /// Whether a snapshot with id `snapshot` joins in front of `ids`.
    fn joins(&self, snapshot: u64, ids: Ids) -> bool {
        match self.rule {
            Rule::BinanceSpot => ids.first <= snapshot.saturating_add(1) && snapshot < ids.last,
            Rule::BinanceFutures | Rule::Okx => {
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
        if self.rule == Rule::Okx {
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
mod tests {
    use super::*;

    fn states(steps: &[Option<Verdict>]) -> Vec<Option<BookState>> {
        steps.iter().map(|step| step.map(|verdict| verdict.state)).collect()
    }

    #[test]
    fn spot_joins_when_the_change_begins_right_after_the_snapshot() {
        let mut sync = Synchroniser::new(Rule::BinanceSpot);
        assert_eq!(sync.change(101, 105, None).unwrap().state, BookState::Buffering);
        assert!(sync.snapshot_wanted());
        let verdict = sync.snapshot(100).unwrap();
        assert_eq!((verdict.state, verdict.last), (BookState::Synced, 105));
        assert!(!sync.snapshot_wanted());
    }

    #[test]
    fn spot_refuses_an_older_snapshot_and_wants_another() {
        let mut sync = Synchroniser::new(Rule::BinanceSpot);
        sync.change(101, 105, None);
        let verdict = sync.snapshot(99).unwrap();
        assert_eq!(
            (verdict.state, verdict.expected, verdict.received),
            (BookState::Buffering, 101, 99)
        );
        assert!(sync.snapshot_wanted());
        assert_eq!(sync.snapshot(103).unwrap().state, BookState::Synced);
    }

    #[test]
    fn spot_gap_names_the_missing_ids_and_old_changes_are_ignored() {
        let mut sync = Synchroniser::new(Rule::BinanceSpot);
        sync.change(101, 105, None);
        sync.snapshot(103);
        assert_eq!(sync.on_change(99, 104, None), (OnChange::Ignore, None));
        assert_eq!(sync.on_change(106, 108, None), (OnChange::Apply, None));
        let verdict = sync.change(110, 111, None).unwrap();
        assert_eq!(
            (verdict.state, verdict.last, verdict.expected, verdict.received),
            (BookState::Gap, 108, 109, 110)
        );
        assert_eq!(Rule::BinanceSpot.missing(&verdict), Some((109, 109)));
        assert_eq!(
            states(&[sync.change(112, 113, None), sync.snapshot(111)]),
            [None, Some(BookState::Synced)]
        );
        assert_eq!(sync.last_id(), 113);
    }

    #[test]
    fn a_snapshot_newer_than_every_change_is_held_until_a_change_joins() {
        let mut sync = Synchroniser::new(Rule::BinanceSpot);
        sync.change(101, 105, None);
        assert_eq!(sync.on_snapshot(110), (OnSnapshot::Hold, None));
        assert!(!sync.snapshot_wanted());
        assert_eq!(sync.on_change(106, 110, None), (OnChange::Ignore, None));
        assert_eq!(sync.on_change(111, 112, None).1.unwrap().state, BookState::Synced);
    }

    #[test]
    fn a_held_snapshot_is_refused_when_the_next_change_leaves_a_hole() {
        let mut sync = Synchroniser::new(Rule::BinanceSpot);
        sync.change(101, 105, None);
        sync.snapshot(110);
        let (todo, verdict) = sync.on_change(115, 118, None);
        assert_eq!(
            (todo, verdict.unwrap().state),
            (OnChange::KeepOnly, BookState::Buffering)
        );
        assert!(sync.snapshot_wanted());
    }

    #[test]
    fn a_newer_snapshot_of_a_live_book_replaces_it_and_the_next_change_joins_it() {
        let mut sync = Synchroniser::new(Rule::BinanceFutures);
        sync.change(110, 120, Some(99));
        sync.snapshot(115);
        assert_eq!(sync.on_snapshot(120), (OnSnapshot::Ignore, None));
        assert_eq!(sync.on_snapshot(135), (OnSnapshot::Join, None));
        assert_eq!(sync.on_change(121, 130, Some(120)), (OnChange::Ignore, None));
        assert_eq!(sync.on_change(131, 140, Some(130)), (OnChange::Apply, None));
        assert_eq!(sync.change(131, 150, Some(130)).unwrap().state, BookState::Gap);
    }

    #[test]
    fn futures_join_by_overlap_and_by_previous_id() {
        for (snapshot, joins) in [
            (99, true),
            (101, false),
            (110, true),
            (115, true),
            (120, true),
            (98, false),
        ] {
            let mut sync = Synchroniser::new(Rule::BinanceFutures);
            sync.change(110, 120, Some(99));
            let state = sync.snapshot(snapshot).unwrap().state;
            assert_eq!(state == BookState::Synced, joins, "snapshot {snapshot}");
            assert_eq!(sync.snapshot_wanted(), !joins);
        }
    }

    #[test]
    fn futures_chain_is_the_previous_id_alone() {
        let mut sync = Synchroniser::new(Rule::BinanceFutures);
        sync.change(110, 120, Some(99));
        sync.snapshot(115);
        // U == pu - 1 was recorded in 2020.
        assert_eq!(sync.on_change(119, 130, Some(120)), (OnChange::Apply, None));
        assert_eq!(sync.on_change(119, 130, Some(120)), (OnChange::Ignore, None));
        let verdict = sync.change(131, 140, Some(129)).unwrap();
        assert_eq!(
            (verdict.state, verdict.expected, verdict.received),
            (BookState::Gap, 130, 129)
        );
        assert_eq!(Rule::BinanceFutures.missing(&verdict), None);
        assert_eq!(sync.snapshot(140).unwrap().state, BookState::Synced);
        assert_eq!(sync.change(150, 160, Some(145)).unwrap().received, 145);
    }

    #[test]
    fn a_broken_chain_while_buffering_keeps_only_what_follows() {
        let mut sync = Synchroniser::new(Rule::BinanceFutures);
        sync.change(10, 20, Some(9));
        assert_eq!(sync.on_change(40, 50, Some(39)).0, OnChange::KeepOnly);
        assert_eq!(sync.snapshot(15).unwrap().state, BookState::Buffering);
        assert_eq!(sync.snapshot(45).unwrap().state, BookState::Synced);
    }

    #[test]
    fn the_run_is_bounded() {
        let mut sync = Synchroniser::new(Rule::BinanceSpot);
        for id in 1..=2 * RUN_MAX as u64 {
            sync.change(id, id, None);
        }
        assert_eq!(sync.run.len(), RUN_MAX);
        assert_eq!(sync.snapshot(10).unwrap().state, BookState::Buffering);
        assert_eq!(sync.snapshot(RUN_MAX as u64).unwrap().state, BookState::Synced);
    }

    #[test]
    fn okx_keep_alive_and_reset_are_not_gaps() {
        let mut sync = Synchroniser::new(Rule::Okx);
        assert_eq!(sync.snapshot(10).unwrap().state, BookState::Synced);
        assert_eq!(sync.change(15, 15, Some(10)), None);
        assert_eq!(sync.change(15, 15, Some(15)), None);
        assert_eq!(sync.change(3, 3, Some(15)), None);
        assert_eq!(sync.change(5, 5, Some(3)), None);
        let verdict = sync.change(9, 9, Some(7)).unwrap();
        assert_eq!(
            (verdict.state, verdict.expected, verdict.received),
            (BookState::Gap, 5, 7)
        );
        assert_eq!(Rule::Okx.missing(&verdict), Some((6, 7)));
        assert_eq!(sync.change(12, 12, Some(9)), None);
        assert_eq!(sync.snapshot(20).unwrap().state, BookState::Synced);
    }

    #[test]
    fn okx_a_lower_id_after_a_lost_reset_is_a_gap_not_a_repeat() {
        let mut sync = Synchroniser::new(Rule::Okx);
        sync.snapshot(100);
        sync.change(110, 110, Some(100));
        assert_eq!(sync.on_change(110, 110, Some(100)), (OnChange::Ignore, None));
        assert_eq!(sync.change(4, 4, Some(3)).unwrap().state, BookState::Gap);
    }

    #[test]
    fn okx_changes_before_the_snapshot_ask_for_one() {
        let mut sync = Synchroniser::new(Rule::Okx);
        assert_eq!(sync.on_change(5, 5, Some(4)).0, OnChange::Ignore);
        assert!(sync.snapshot_wanted());
        assert_eq!(sync.on_snapshot(9).0, OnSnapshot::Join);
        assert_eq!(sync.on_snapshot(11), (OnSnapshot::Join, None));
    }

    #[test]
    fn without_ids_only_distrust_breaks_the_book() {
        let mut sync = Synchroniser::new(Rule::Okx);
        assert_eq!(sync.snapshot(ID_UNDEF).unwrap().state, BookState::Synced);
        assert_eq!(sync.on_change(ID_UNDEF, ID_UNDEF, None), (OnChange::Apply, None));
        assert_eq!(sync.distrust(1, 2).unwrap().state, BookState::Gap);
        assert_eq!(sync.distrust(1, 2), None);
        assert_eq!(sync.on_change(ID_UNDEF, ID_UNDEF, None), (OnChange::Ignore, None));
    }

    #[test]
    fn after_a_disconnect_the_first_change_asks_for_a_snapshot() {
        for rule in [Rule::BinanceSpot, Rule::BinanceFutures, Rule::Okx] {
            let mut sync = Synchroniser::new(rule);
            assert_eq!(sync.disconnect(), None);
            sync.change(10, 20, Some(9));
            sync.snapshot(15);
            assert_eq!(sync.disconnect().unwrap().state, BookState::Gap);
            assert!(!sync.snapshot_wanted());
            assert_eq!(sync.change(21, 30, Some(20)).unwrap().state, BookState::Buffering);
            assert!(sync.snapshot_wanted());
        }
    }

    #[test]
    fn a_checkpoint_carries_the_state() {
        let mut sync = Synchroniser::new(Rule::BinanceFutures);
        sync.change(110, 120, Some(99));
        sync.change(121, 130, Some(120));
        let text = serde_json::to_string(&sync).unwrap();
        let mut copy: Synchroniser = serde_json::from_str(&text).unwrap();
        assert_eq!(copy, sync);
        assert_eq!(copy.snapshot(115), sync.snapshot(115));
    }
}
