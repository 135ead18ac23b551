//! One topic of a feed: its policy, what of it waits, and, where it carries the changes of a book, what each does to the book.

use std::collections::VecDeque;

use super::{Key, Policy};
use crate::book::sync::{OnChange, OnSnapshot, Rule, Synchroniser};
use crate::event::{flag, BookState, Event, Kind, SIZE_UNDEF};

/// What a message does to the book of whoever has got everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is applied to a live book. Two such in a row can be one message.
    Change,
    /// The book becomes this snapshot in whatever state it is.
    Replace,
    /// The book, if it is live, becomes this snapshot.
    ReplaceLive,
    /// Nothing at all.
    Nothing,
    /// Anything else: it may be kept, held or refused, so it stays as it is.
    Other,
}

#[derive(Debug)]
struct Watch {
    sync: Synchroniser,
    instrument: u32,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub topic: u32,
    pub policy: Policy,
    watch: Option<Watch>,
    /// Keys of its waiting messages, oldest first.
    pub keys: VecDeque<Key>,
    /// Records that wait; not kept for conflated lanes.
    pub records: usize,
    /// The last change handed over was a merged one. A repeat of its newest part names another predecessor than it did, and
    /// would look like a gap on the other side.
    pub is_merged: bool,
}

impl Lane {
    /// An empty lane; `rule` where the topic carries the changes of a book.
    pub fn new(topic: u32, policy: Policy, rule: Option<Rule>) -> Lane {
        let watch = rule.filter(|_| policy == Policy::Conflate).map(|rule| Watch {
            sync: Synchroniser::new(rule),
            instrument: 0,
        });
        Lane {
            topic,
            policy,
            watch,
            keys: VecDeque::new(),
            records: 0,
            is_merged: false,
        }
    }

    /// Whether its messages change a book, so that the newest does not speak for all.
    pub fn watches_book(&self) -> bool {
        self.watch.is_some()
    }

    /// What `message` does; every message of the topic must be shown once, in order.
    pub fn effect(&mut self, message: &[Event]) -> Effect {
        let Some(watch) = &mut self.watch else {
            return Effect::Other;
        };
        let Some(head) = message.iter().find(|event| event.kind == Kind::DepthHead as u8) else {
            return Effect::Other;
        };
        let rule = watch.sync.rule();
        if head.instrument != watch.instrument {
            *watch = Watch {
                sync: Synchroniser::new(rule),
                instrument: head.instrument,
            };
        }
        let was_live = watch.sync.state() == BookState::Synced;
        if head.flags & flag::SNAPSHOT != 0 {
            return match watch.sync.on_snapshot(head.id).0 {
                OnSnapshot::Join if rule.snapshots_in_stream() => Effect::Replace,
                OnSnapshot::Join if was_live => Effect::ReplaceLive,
                OnSnapshot::Ignore => Effect::Nothing,
                OnSnapshot::Join | OnSnapshot::Hold | OnSnapshot::Refuse => Effect::Other,
            };
        }
        let previous = (head.size != SIZE_UNDEF).then_some(head.size as u64);
        let has_clear = message.first().is_some_and(|first| first.kind == Kind::Clear as u8);
        match watch.sync.on_change(head.price as u64, head.id, previous) {
            (OnChange::Apply, None) if !has_clear => Effect::Change,
            (OnChange::Ignore, None) if !has_clear => Effect::Nothing,
            _ => Effect::Other,
        }
    }
}
