//! The book of one instrument out of the event stream alone: CLEAR, DEPTH_HEAD and DEPTH events in `seq` order.
//!
//! Consumers need no verdicts of the decoder: the builder runs the venue's rule again over the ids in the heads. Changes
//! that come before the first snapshot are kept, bounded, and applied when a snapshot joins them.

use crate::book::l2::{Levels, Side};
use crate::book::sync::{OnChange, OnSnapshot, Rule, Synchroniser};
use crate::event::{flag, side, BookState, Event, Kind, EVENT_BYTES, ID_UNDEF, SIZE_UNDEF};

/// Bytes of kept changes per book: 65,536 events. A snapshot is about a second old when it comes; the recorded streams
/// have up to 1,300 levels a second, and half of the bound stays when the older half is dropped.
pub const KEPT_BYTES_MAX: usize = 4 << 20;

/// Where the levels of the message that is being read go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Into the book.
    Book,
    /// To the kept changes.
    Kept,
    /// Nowhere.
    Nothing,
}

/// A book and its proof of continuity.
#[derive(Debug, Clone)]
pub struct BookBuilder {
    sync: Synchroniser,
    levels: Levels,
    /// Heads and levels of changes that wait for a snapshot, whole messages in order.
    kept: Vec<Event>,
    target: Target,
    /// The message being read is a snapshot that joins: kept changes newer than this id follow it.
    joining: Option<u64>,
}

impl BookBuilder {
    /// An empty book under `rule`.
    pub fn new(rule: Rule) -> Self {
        BookBuilder {
            sync: Synchroniser::new(rule),
            levels: Levels::new(),
            kept: Vec::new(),
            target: Target::Nothing,
            joining: None,
        }
    }

    /// The levels. They are a live book only in SYNCED; in GAP they are the last live ones.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// State of the book.
    pub fn state(&self) -> BookState {
        self.sync.state()
    }

    /// Last id of the book; `ID_UNDEF` where there is none.
    pub fn last_id(&self) -> u64 {
        self.sync.last_id()
    }

    /// Bytes of changes kept for a snapshot.
    pub fn kept_bytes(&self) -> usize {
        self.kept.len() * EVENT_BYTES
    }

    /// Takes the depth events of `instrument` out of `events`, which must end with a whole message; returns how many
    /// messages changed the book. Other kinds and instruments are skipped.
    pub fn apply(&mut self, events: &[Event], instrument: u32) -> usize {
        let mut applied = 0;
        for event in events {
            if event.instrument == instrument {
                applied += usize::from(self.take(event));
            }
        }
        self.close();
        applied
    }

    /// One event; true when it begins a message that changes the book.
    fn take(&mut self, event: &Event) -> bool {
        if event.kind == Kind::Depth as u8 {
            match self.target {
                Target::Book => set(&mut self.levels, event),
                Target::Kept => self.kept.push(*event),
                Target::Nothing => {}
            }
            return false;
        }
        if event.kind == Kind::DepthHead as u8 {
            self.close();
            return if event.flags & flag::SNAPSHOT == 0 {
                self.change(event)
            } else {
                self.snapshot(event)
            };
        }
        // A CLEAR in front of a snapshot is said again by the snapshot, which may yet be refused.
        if event.kind == Kind::Clear as u8 && event.flags & flag::SNAPSHOT == 0 {
            self.close();
            self.levels.clear();
            return true;
        }
        false
    }

    fn change(&mut self, head: &Event) -> bool {
        let previous = (head.size != SIZE_UNDEF).then_some(head.size as u64);
        let (todo, _) = self.sync.on_change(head.price as u64, head.id, previous);
        if todo == OnChange::KeepOnly {
            self.kept.clear();
        } else if self.kept_bytes() >= KEPT_BYTES_MAX {
            self.drop_older_half();
        }
        self.target = match todo {
            OnChange::Apply => Target::Book,
            OnChange::Keep | OnChange::KeepOnly => {
                self.kept.push(*head);
                Target::Kept
            }
            OnChange::Ignore => Target::Nothing,
        };
        todo == OnChange::Apply
    }

    /// Drops the older kept messages: a snapshot that is late enough to need them is refused, and a newer one comes.
    fn drop_older_half(&mut self) {
        let is_head = |event: &Event| event.kind == Kind::DepthHead as u8;
        let half = self.kept.len() / 2;
        let newer = self
            .kept
            .iter()
            .skip(half)
            .position(is_head)
            .map_or(self.kept.len(), |at| half + at);
        self.kept.drain(..newer);
        // The message that is being taken is in the run already and will be kept.
        self.sync
            .keep_newest(self.kept.iter().filter(|event| is_head(event)).count() + 1);
    }

    fn snapshot(&mut self, head: &Event) -> bool {
        let (todo, _) = self.sync.on_snapshot(head.id);
        match todo {
            OnSnapshot::Refuse | OnSnapshot::Ignore => {
                self.target = Target::Nothing;
                return false;
            }
            OnSnapshot::Hold => self.kept.clear(),
            OnSnapshot::Join => {}
        }
        self.levels.clear();
        self.target = Target::Book;
        self.joining = Some(head.id);
        true
    }

    /// The message that was being read is over: a snapshot marks its depth and takes in the kept changes.
    fn close(&mut self) {
        self.target = Target::Nothing;
        let Some(snapshot) = self.joining.take() else { return };
        self.levels.mark_known();
        let mut newer = false;
        for event in &self.kept {
            if event.kind == Kind::DepthHead as u8 {
                newer = event.id > snapshot && snapshot != ID_UNDEF;
            } else if newer {
                set(&mut self.levels, event);
            }
        }
        self.kept.clear();
    }
}

fn set(levels: &mut Levels, event: &Event) {
    let half = if event.side == side::BID { Side::Bid } else { Side::Ask };
    levels.set(half, event.price, event.size);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::l2::Level;

    /// A depth message: (first, last, previous), levels as (side, price, size).
    fn message(ids: (u64, u64, Option<u64>), flags: u16, levels: &[(u8, i64, i64)]) -> Vec<Event> {
        let mut head = Event::new(Kind::DepthHead, 0, 0, 0, 7);
        head.id = ids.1;
        head.price = ids.0 as i64;
        head.size = ids.2.map_or(SIZE_UNDEF, |id| id as i64);
        head.aux = levels.len() as i64;
        head.flags = flags;
        let mut events = vec![head];
        for (side, price, size) in levels {
            let mut event = Event::new(Kind::Depth, 0, 0, 0, 7);
            (event.id, event.side, event.price, event.size, event.flags) = (ids.1, *side, *price, *size, flags);
            events.push(event);
        }
        events
    }

    #[test]
    fn kept_changes_newer_than_the_snapshot_follow_it() {
        let mut book = BookBuilder::new(Rule::BinanceSpot);
        assert_eq!(book.apply(&message((1, 5, None), 0, &[(b'B', 10, 1)]), 7), 0);
        assert_eq!(
            book.apply(&message((6, 9, None), 0, &[(b'B', 11, 2), (b'A', 12, 0)]), 7),
            0
        );
        assert_eq!(
            (book.state(), book.kept_bytes()),
            (BookState::Buffering, 5 * EVENT_BYTES)
        );
        let snapshot = [(b'B', 10, 7), (b'A', 12, 7), (b'A', 13, 7)];
        assert_eq!(book.apply(&message((5, 5, None), flag::SNAPSHOT, &snapshot), 7), 1);
        assert_eq!(
            (book.state(), book.last_id(), book.kept_bytes()),
            (BookState::Synced, 9, 0)
        );
        assert_eq!(
            book.levels().top(Side::Bid, 9),
            [Level { price: 11, size: 2 }, Level { price: 10, size: 7 }]
        );
        assert_eq!(book.levels().top(Side::Ask, 9), [Level { price: 13, size: 7 }]);
        assert_eq!(book.levels().known_limit(Side::Bid), Some(10));
    }

    #[test]
    fn a_refused_or_needless_snapshot_changes_nothing() {
        let mut book = BookBuilder::new(Rule::BinanceSpot);
        book.apply(&message((6, 9, None), 0, &[(b'B', 11, 2)]), 7);
        assert_eq!(
            book.apply(&message((3, 3, None), flag::SNAPSHOT, &[(b'B', 1, 1)]), 7),
            0
        );
        assert_eq!(book.levels().count(Side::Bid), 0);
        assert_eq!(
            book.apply(&message((8, 8, None), flag::SNAPSHOT, &[(b'B', 1, 1)]), 7),
            1
        );
        assert_eq!(
            book.apply(&message((8, 8, None), flag::SNAPSHOT, &[(b'B', 2, 1)]), 7),
            0
        );
        assert_eq!(book.levels().count(Side::Bid), 2);
    }

    #[test]
    fn after_a_gap_the_old_levels_stay_until_a_snapshot_replaces_them() {
        let mut book = BookBuilder::new(Rule::BinanceFutures);
        book.apply(&message((1, 5, Some(0)), 0, &[(b'B', 10, 1)]), 7);
        book.apply(&message((5, 5, None), flag::SNAPSHOT, &[(b'B', 10, 1)]), 7);
        book.apply(&message((8, 9, Some(7)), 0, &[(b'B', 11, 1)]), 7);
        assert_eq!((book.state(), book.levels().count(Side::Bid)), (BookState::Gap, 1));
        book.apply(&message((8, 8, None), flag::SNAPSHOT, &[(b'B', 12, 1)]), 7);
        assert_eq!((book.state(), book.levels().count(Side::Bid)), (BookState::Synced, 2));
    }

    #[test]
    fn other_instruments_are_skipped_and_a_clear_empties() {
        let mut book = BookBuilder::new(Rule::Okx);
        book.apply(&message((4, 4, None), flag::SNAPSHOT, &[(b'B', 10, 1)]), 7);
        assert_eq!(book.apply(&message((9, 9, Some(8)), 0, &[(b'B', 11, 1)]), 8), 0);
        assert_eq!(book.apply(&[Event::new(Kind::Clear, 0, 0, 0, 7)], 7), 1);
        assert_eq!((book.state(), book.levels().count(Side::Bid)), (BookState::Synced, 0));
    }

    #[test]
    fn the_kept_changes_are_bounded_in_bytes_and_the_newer_half_still_joins() {
        let levels: Vec<_> = (0..1000).map(|price| (b'B', price, 1)).collect();
        for (snapshot, joins) in [(199, true), (170, true), (100, false)] {
            let mut book = BookBuilder::new(Rule::BinanceSpot);
            for id in 1..=200 {
                book.apply(&message((id, id, None), 0, &levels), 7);
                assert!(book.kept_bytes() <= KEPT_BYTES_MAX + 1001 * EVENT_BYTES);
            }
            book.apply(&message((snapshot, snapshot, None), flag::SNAPSHOT, &[]), 7);
            let expected = if joins { BookState::Synced } else { BookState::Buffering };
            assert_eq!(book.state(), expected, "snapshot {snapshot}");
            assert!(!joins || (book.last_id() == 200 && book.levels().count(Side::Bid) == 1000));
        }
    }
}
