#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
//! Random streams with drops, repeats, swaps and snapshots: a book called SYNCED equals the true book at its id, the levels
//! equal a `BTreeMap`, and the synchroniser agrees with a reference that keeps everything and looks at all of it.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tickd_core::book::builder::BookBuilder;
use tickd_core::book::l2::{Levels, Side};
use tickd_core::book::sync::{Rule, Synchroniser};
use tickd_core::event::{flag, BookState, Event, Kind, SIZE_UNDEF};

type Book = BTreeMap<(bool, i64), i64>;

/// One venue message of the model: ids and (is bid, price, size).
#[derive(Debug, Clone)]
struct Message {
    first: u64,
    last: u64,
    previous: Option<u64>,
    snapshot: bool,
    levels: Vec<(bool, i64, i64)>,
}

impl Message {
    fn events(&self) -> Vec<Event> {
        let flags = if self.snapshot { flag::SNAPSHOT } else { 0 };
        let mut head = Event::new(Kind::DepthHead, 0, 0, 0, 1);
        (head.id, head.price, head.flags) = (self.last, self.first as i64, flags);
        head.size = self.previous.map_or(SIZE_UNDEF, |id| id as i64);
        let mut events = vec![head];
        for (bid, price, size) in &self.levels {
            let mut event = Event::new(Kind::Depth, 0, 0, 0, 1);
            (event.id, event.price, event.size, event.flags) = (self.last, *price, *size, flags);
            event.side = if *bid { b'B' } else { b'A' };
            events.push(event);
        }
        events
    }
}

fn apply(book: &mut Book, level: (bool, i64, i64)) {
    if level.2 == 0 {
        book.remove(&(level.0, level.1));
    } else {
        book.insert((level.0, level.1), level.2);
    }
}

/// What a venue does: atoms (one level each) get ids, are grouped into changes; any id has a true book.
struct Venue {
    changes: Vec<Message>,
    truth: BTreeMap<u64, Book>,
}

/// Each atom: id step, bid, price, size, whether the change ends behind it.
type Atom = (u64, bool, i64, i64, bool);

fn venue(rule: Rule, atoms: &[Atom]) -> Venue {
    let (mut id, mut before, mut book) = (10, 10, Book::new());
    let mut truth = BTreeMap::from([(id, book.clone())]);
    let mut changes: Vec<Message> = Vec::new();
    let mut open: Option<Message> = None;
    for (step, bid, price, size, end) in atoms {
        // Spot ids are the symbol's own and consecutive, elsewhere they are shared over symbols.
        id += if rule == Rule::BinanceSpot { 1 } else { *step };
        apply(&mut book, (*bid, *price, *size));
        truth.insert(id, book.clone());
        let fresh = Message {
            first: id,
            last: id,
            previous: None,
            snapshot: false,
            levels: Vec::new(),
        };
        let change = open.get_or_insert(fresh);
        change.last = id;
        change.levels.push((*bid, *price, *size));
        if *end {
            let mut change = open.take().unwrap();
            change.previous = (rule != Rule::BinanceSpot).then_some(before);
            before = change.last;
            changes.push(change);
        }
    }
    Venue { changes, truth }
}

fn snapshot(id: u64, book: &Book) -> Message {
    let levels = book.iter().map(|((bid, price), size)| (*bid, *price, *size)).collect();
    Message {
        first: id,
        last: id,
        previous: None,
        snapshot: true,
        levels,
    }
}

/// How the wire treats the next change: 0 drops it, 1 repeats it, 2 swaps it with the next, 3.. delivers it.
fn delivered(venue: &Venue, faults: &[(u8, Option<usize>)]) -> Vec<Message> {
    let ids: Vec<u64> = venue.truth.keys().copied().collect();
    let mut order: Vec<Message> = Vec::new();
    let mut late: Option<Message> = None;
    for (change, (fault, shot)) in venue.changes.iter().zip(faults.iter().cycle()) {
        match fault {
            0 => {}
            1 => order.extend([change.clone(), change.clone()]),
            2 => late = Some(change.clone()),
            _ => order.push(change.clone()),
        }
        if *fault != 2 {
            order.extend(late.take());
        }
        if let Some(shot) = shot {
            // Any id up to two changes ahead of or behind what was delivered: snapshots travel on another way.
            let near = ids.iter().position(|id| *id >= change.last).unwrap_or(0);
            let at = (near + shot % 7).saturating_sub(4).min(ids.len() - 1);
            order.push(snapshot(ids[at], &venue.truth[&ids[at]]));
        }
    }
    order
}

fn rules() -> impl Strategy<Value = Rule> {
    prop_oneof![Just(Rule::BinanceSpot), Just(Rule::BinanceFutures), Just(Rule::Okx)]
}

fn atoms() -> impl Strategy<Value = Vec<Atom>> {
    vec((1..5u64, any::<bool>(), 1..12i64, 0..4i64, any::<bool>()), 1..120)
}

fn faults() -> impl Strategy<Value = Vec<(u8, Option<usize>)>> {
    vec((0..24u8, prop::option::weighted(0.15, 0..7usize)), 1..40)
}

/// The slow obvious reference of the two Binance rules: keeps every change, decides by looking at all of them.
struct Reference {
    rule: Rule,
    state: BookState,
    last: u64,
    run: Vec<Message>,
    held: Option<u64>,
    jumped: bool,
}

impl Reference {
    fn chained(&self, before: u64, change: &Message) -> bool {
        match self.rule {
            Rule::BinanceSpot => change.first <= before + 1 && change.last > before,
            _ => change.previous == Some(before),
        }
    }

    fn joins(&self, shot: u64, change: &Message) -> bool {
        match self.rule {
            Rule::BinanceSpot => change.first <= shot + 1 && shot < change.last,
            _ => (change.first <= shot && shot <= change.last) || change.previous == Some(shot),
        }
    }

    fn change(&mut self, change: &Message) {
        if self.state == BookState::Synced {
            if self.chained(self.last, change) || (self.jumped && self.joins(self.last, change)) {
                (self.last, self.jumped) = (change.last, false);
            } else if change.last > self.last {
                self.state = BookState::Gap;
                self.run = vec![change.clone()];
            }
            return;
        }
        if let Some(shot) = self.held {
            if self.joins(shot, change) {
                (self.state, self.last, self.held, self.jumped) = (BookState::Synced, change.last, None, false);
            } else if change.last > shot {
                (self.held, self.run) = (None, vec![change.clone()]);
            }
            return;
        }
        if self.state == BookState::Init {
            self.state = BookState::Buffering;
        }
        match self.run.last().map(|newest| newest.last) {
            Some(newest) if self.chained(newest, change) => self.run.push(change.clone()),
            Some(newest) if change.last <= newest => {}
            _ => self.run = vec![change.clone()],
        }
    }

    fn snapshot(&mut self, shot: u64) {
        if self.state == BookState::Synced {
            if shot > self.last {
                (self.last, self.jumped) = (shot, true);
            }
            return;
        }
        if self.held.is_some_and(|held| held > shot) {
            return;
        }
        self.state = BookState::Buffering;
        let useful: Vec<&Message> = self
            .run
            .iter()
            .filter(|change| {
                if self.rule == Rule::BinanceSpot {
                    change.last > shot
                } else {
                    change.last >= shot
                }
            })
            .collect();
        match useful.first() {
            None => (self.held, self.run) = (Some(shot), Vec::new()),
            Some(oldest) if self.joins(shot, oldest) => {
                (self.state, self.last, self.jumped) = (BookState::Synced, useful[useful.len() - 1].last, false);
                self.run.clear();
            }
            Some(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_synced_book_is_the_true_book_at_its_id(rule in rules(), atoms in atoms(), faults in faults()) {
        let venue = venue(rule, &atoms);
        let mut builder = BookBuilder::new(rule);
        for message in delivered(&venue, &faults) {
            builder.apply(&message.events(), 1);
            if builder.state() != BookState::Synced {
                continue;
            }
            let truth = venue.truth.get(&builder.last_id()).expect("an id of the venue");
            let mut mine = Book::new();
            for (side, bid) in [(Side::Bid, true), (Side::Ask, false)] {
                mine.extend(builder.levels().iter(side).map(|level| ((bid, level.price), level.size)));
            }
            prop_assert_eq!(&mine, truth);
        }
    }

    #[test]
    fn without_faults_the_first_snapshot_in_the_stream_leads_to_synced_for_ever(
        rule in rules(), atoms in atoms(), at in 0..40usize,
    ) {
        let venue = venue(rule, &atoms);
        let at = at % venue.changes.len().max(1);
        let mut sync = Synchroniser::new(rule);
        for (index, change) in venue.changes.iter().enumerate() {
            sync.change(change.first, change.last, change.previous);
            if index == at {
                sync.snapshot(change.last);
            }
            prop_assert_eq!(sync.state() == BookState::Synced, index > at || (index == at && rule != Rule::BinanceSpot));
        }
    }

    #[test]
    fn the_synchroniser_agrees_with_the_reference(spot in any::<bool>(), atoms in atoms(), faults in faults()) {
        let rule = if spot { Rule::BinanceSpot } else { Rule::BinanceFutures };
        let venue = venue(rule, &atoms);
        let mut reference = Reference { rule, state: BookState::Init, last: u64::MAX, run: Vec::new(), held: None, jumped: false };
        let mut sync = Synchroniser::new(rule);
        for message in delivered(&venue, &faults) {
            let before = sync.state();
            let verdict = if message.snapshot {
                reference.snapshot(message.last);
                sync.snapshot(message.last)
            } else {
                reference.change(&message);
                sync.change(message.first, message.last, message.previous)
            };
            prop_assert_eq!((sync.state(), sync.last_id()), (reference.state, reference.last));
            // A verdict exactly on a transition, and for each refused snapshot (BUFFERING again, one wanted).
            let refused = before == BookState::Buffering && verdict.is_some_and(|v| v.state == BookState::Buffering);
            prop_assert_eq!(verdict.is_some(), sync.state() != before || refused);
            prop_assert!(!refused || sync.snapshot_wanted());
            let text = serde_json::to_vec(&sync).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Synchroniser>(&text).unwrap(), &sync);
        }
    }

    /// The decoder sees lost connections, a consumer of events does not; its own machine must come to the same end.
    #[test]
    fn decoder_and_consumer_are_both_live_again_after_any_faults(
        rule in rules(), atoms in vec((1..5u64, any::<bool>(), 1..12i64, 0..4i64), 40..160), faults in vec(0..12u8, 1..30),
        delay in 0..4usize,
    ) {
        let atoms: Vec<Atom> = atoms.into_iter().map(|(step, bid, price, size)| (step, bid, price, size, true)).collect();
        let venue = venue(rule, &atoms);
        let (mut decoder, mut consumer) = (Synchroniser::new(rule), BookBuilder::new(rule));
        let mut due: Option<(usize, u64)> = None;
        for (index, change) in venue.changes.iter().enumerate() {
            let fault = if index < venue.changes.len() - 20 { faults[index % faults.len()] } else { 11 };
            if fault == 0 {
                continue; // lost
            }
            if fault == 1 {
                decoder.disconnect();
            }
            let verdict = decoder.change(change.first, change.last, change.previous);
            consumer.apply(&change.events(), 1);
            if verdict.is_some() && decoder.snapshot_wanted() {
                due = Some((index + delay, change.last));
            }
            // It is as old as its request, and may come while the stream is down.
            if let Some((_, id)) = due.filter(|(at, _)| *at <= index) {
                due = None;
                // OKX sends it in the stream: it cannot be older than what was delivered before it.
                let id = if rule == Rule::Okx { change.last } else { id };
                let verdict = decoder.snapshot(id);
                consumer.apply(&snapshot(id, &venue.truth[&id]).events(), 1);
                if verdict.is_some() && decoder.snapshot_wanted() {
                    due = Some((index + 1 + delay, venue.changes[(index + delay).min(venue.changes.len() - 1)].last));
                }
            }
            if consumer.state() == BookState::Synced {
                let mut mine = Book::new();
                for (side, bid) in [(Side::Bid, true), (Side::Ask, false)] {
                    mine.extend(consumer.levels().iter(side).map(|level| ((bid, level.price), level.size)));
                }
                prop_assert_eq!(&mine, &venue.truth[&consumer.last_id()]);
            }
        }
        let last = venue.changes[venue.changes.len() - 1].last;
        prop_assert_eq!((decoder.state(), decoder.last_id()), (BookState::Synced, last));
        prop_assert_eq!((consumer.state(), consumer.last_id()), (BookState::Synced, last));
    }

    #[test]
    fn levels_equal_a_tree(steps in vec((any::<bool>(), 0..300i64, 0..5i64), 0..600)) {
        let (mut levels, mut tree) = (Levels::new(), Book::new());
        for (bid, price, size) in steps {
            levels.set(if bid { Side::Bid } else { Side::Ask }, price, size);
            apply(&mut tree, (bid, price, size));
            let bids: Vec<_> = levels.iter(Side::Bid).map(|level| (level.price, level.size)).collect();
            let asks: Vec<_> = levels.iter(Side::Ask).map(|level| (level.price, level.size)).collect();
            let side = |bid: bool| tree.iter().filter(move |((b, _), _)| *b == bid).map(|((_, p), s)| (*p, *s));
            prop_assert_eq!(bids, side(true).rev().collect::<Vec<_>>());
            prop_assert_eq!(asks, side(false).collect::<Vec<_>>());
        }
    }
}
