//! The feed against a naive twin: random messages, random room, random policies.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::replayed::Replayed;
use super::*;
use crate::batch::TopicRange;
use crate::book::builder::BookBuilder;
use crate::book::l2::Side;
use crate::book::sync::Rule;
use crate::event::{side, SEQ_INDEX_BITS, SIZE_UNDEF};

const NAMES: [&str; 5] = [
    "depth.binance-spot.A",
    "depth.binance-usdm.B",
    "depth.okx.C",
    "trade.okx.C",
    "quote.okx.C",
];
const RULES: [Rule; 3] = [Rule::BinanceSpot, Rule::BinanceFutures, Rule::Okx];

/// A ring of which the other side takes so much.
#[derive(Debug)]
struct Ring {
    entry_max: usize,
    capacity: usize,
    waiting: usize,
    entries: Vec<Vec<Event>>,
}

impl Outlet for Ring {
    fn room(&mut self) -> usize {
        self.entry_max.min(self.capacity.saturating_sub(self.waiting))
    }

    fn room_max(&self) -> usize {
        self.entry_max.min(self.capacity)
    }

    fn put(&mut self, _: i64, parts: &[&[Event]]) {
        let entry: Vec<Event> = parts.concat();
        assert!(!entry.is_empty() && entry.len() <= self.room());
        self.waiting += entry.len();
        self.entries.push(entry);
    }
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A message of a topic: levels as (is bid, price, size), and what is odd about it.
    Message(u8, Vec<(bool, i64, i64)>, u8),
    /// The burst ends here.
    Cut,
    /// The other side takes so many events.
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let level = (any::<bool>(), 1..6_i64, 0..4_i64);
    let message = (0..5_u8, prop::collection::vec(level, 0..5), 0..24_u8);
    let step = prop_oneof![
        8 => message.prop_map(|(topic, levels, odd)| Step::Message(topic, levels, odd)),
        3 => Just(Step::Cut),
        2 => (0..40_usize).prop_map(Step::Take),
    ];
    prop::collection::vec(step, 1..160)
}

/// Makes the messages: chains of ids that mostly hold, snapshots, repeats, holes.
#[derive(Default)]
struct Venue {
    frame: u64,
    ids: [u64; 3],
    newest: HashMap<u8, Vec<Event>>,
}

impl Venue {
    fn message(&mut self, topic: u8, levels: &[(bool, i64, i64)], odd: u8) -> Vec<Event> {
        self.frame += 1;
        let seq = self.frame << SEQ_INDEX_BITS;
        let mut events = match topic {
            3 => vec![Event::new(Kind::Trade, seq, 1, 1, 9)],
            4 => vec![
                Event::new(Kind::Quote, seq, 1, 1, 9),
                Event::new(Kind::Quote, seq + 1, 1, 1, 9),
            ],
            _ => self.depth(topic, levels, odd, seq),
        };
        if odd == 5 && topic < 3 {
            // The other leg brings the newest message once more.
            if let Some(newest) = self.newest.get(&topic) {
                events.clone_from(newest);
            }
        }
        for (at, event) in events.iter_mut().enumerate() {
            event.seq = seq + at as u64;
            event.flags &= !flag::LAST;
        }
        events.last_mut().unwrap().flags |= flag::LAST;
        self.newest.insert(topic, events.clone());
        events
    }

    fn depth(&mut self, topic: u8, levels: &[(bool, i64, i64)], odd: u8, seq: u64) -> Vec<Event> {
        let id = &mut self.ids[usize::from(topic)];
        if odd == 6 {
            *id += 3; // a change is missing
        }
        let previous = *id;
        // Snapshots now and then, some of them a little old.
        let is_snapshot = odd < 2;
        *id += if is_snapshot { 0 } else { 2 };
        let mut head = Event::new(Kind::DepthHead, seq, 1, 1, u32::from(topic) + 1);
        head.id = if odd == 1 { id.saturating_sub(3) } else { *id };
        head.price = if is_snapshot {
            head.id as i64
        } else {
            previous as i64 + 1
        };
        head.size = if is_snapshot || topic == 0 {
            SIZE_UNDEF
        } else {
            previous as i64
        };
        head.aux = levels.len() as i64;
        head.flags = if is_snapshot { flag::SNAPSHOT } else { 0 };
        let mut events = vec![head];
        if odd == 7 {
            events = vec![Event::new(Kind::Clear, seq, 1, 1, u32::from(topic) + 1)];
            *id = previous;
            return events;
        }
        for (is_bid, price, size) in levels {
            let mut level = head;
            level.kind = Kind::Depth as u8;
            level.side = if *is_bid { side::BID } else { side::ASK };
            (level.price, level.size) = (*price, *size);
            events.push(level);
        }
        events
    }
}

struct World {
    venue: Venue,
    feed: Feed,
    ring: Ring,
    /// Messages of the burst, by topic in order of appearance.
    burst: Vec<(u32, Vec<Event>)>,
    /// Every message in its order.
    all: Vec<(u32, Vec<Event>)>,
    rows: Vec<Row>,
    policies: [Policy; 5],
    limits: Limits,
}

fn batch_of(messages: &[(u32, Vec<Event>)]) -> Batch {
    let mut order: Vec<u32> = Vec::new();
    for (topic, _) in messages {
        if !order.contains(topic) {
            order.push(*topic);
        }
    }
    let (mut events, mut topics) = (Vec::new(), Vec::new());
    for topic in order {
        let start = events.len() as u32;
        let of_it = messages.iter().filter(|(each, _)| *each == topic);
        events.extend(of_it.flat_map(|(_, message)| message.clone()));
        topics.push(TopicRange {
            topic,
            start,
            stop: events.len() as u32,
        });
    }
    Batch::from_parts(events, topics, 7)
}

impl World {
    fn new(policies: [Policy; 5], capacity: usize, limits: Limits) -> World {
        let mut feed = Feed::new(limits);
        for (topic, name) in NAMES.iter().enumerate() {
            feed.set_topic(topic as u32, name, Some(policies[topic]));
        }
        World {
            venue: Venue::default(),
            feed,
            ring: Ring {
                entry_max: 24,
                capacity,
                waiting: 0,
                entries: Vec::new(),
            },
            burst: Vec::new(),
            all: Vec::new(),
            rows: Vec::new(),
            policies,
            limits,
        }
    }

    fn run(&mut self, steps: &[Step]) -> Result<(), Ending> {
        for step in steps {
            match step {
                Step::Message(topic, levels, odd) => {
                    let message = self.venue.message(*topic, levels, *odd);
                    self.burst.push((u32::from(*topic), message));
                }
                Step::Cut => self.cut()?,
                Step::Take(count) => {
                    self.ring.waiting = self.ring.waiting.saturating_sub(*count);
                    self.feed.flush(&mut self.ring)?;
                }
            }
            let excess = self.feed.depth().saturating_sub(self.limits.records_total);
            assert_eq!(excess, 0, "more waits than the limit");
        }
        self.cut()?;
        while self.feed.depth() > 0 {
            self.ring.waiting = 0;
            self.feed.flush(&mut self.ring)?;
        }
        self.rows.extend(self.feed.take_rows());
        Ok(())
    }

    fn cut(&mut self) -> Result<(), Ending> {
        let burst = std::mem::take(&mut self.burst);
        self.all.extend(burst.iter().cloned());
        self.feed.offer(&batch_of(&burst), &mut self.ring)?;
        self.rows.extend(self.feed.take_rows());
        Ok(())
    }

    fn delivered(&self) -> Vec<Event> {
        self.ring.entries.concat()
    }
}

fn levels_of(book: &BookBuilder) -> Vec<(i64, i64)> {
    let both = [Side::Bid, Side::Ask].into_iter();
    both.flat_map(|side| book.levels().iter(side).map(|level| (level.price, level.size)))
        .collect()
}

/// Levels, state, last id.
type Book = (Vec<(i64, i64)>, i64, u64);

/// Book of each depth topic after each message, by the number of the message's last record.
fn books(events: &[Event]) -> BTreeMap<u64, Book> {
    let mut books: Vec<BookBuilder> = RULES.iter().map(|rule| BookBuilder::new(*rule)).collect();
    let mut after = BTreeMap::new();
    for message in messages(events) {
        let instrument = message[0].instrument;
        if let Some(book) = books.get_mut(instrument as usize - 1) {
            book.apply(message, instrument);
            let state = (levels_of(book), book.state() as i64, book.last_id());
            after.insert(message.last().unwrap().seq, state);
        }
    }
    after
}

fn assert_whole_and_rising(events: &[Event]) {
    let mut before = 0;
    for message in messages(events) {
        let last = message.last().unwrap();
        assert!(last.flags & flag::LAST != 0, "a message is cut");
        assert!(message[0].seq > before, "numbers do not rise");
        if message[0].flags & flag::SYNTHETIC == 0 {
            assert!(message.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        } else {
            assert!(message.iter().all(|event| event.seq == last.seq));
        }
        before = last.seq;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn books_order_counts_and_replay_are_exact(
        steps in steps(), capacity in 24..80_usize, drop_trades in any::<bool>(), drop_quotes in any::<bool>()
    ) {
        let of = |drop| if drop { Policy::DropOldest } else { Policy::Conflate };
        let policies = [Policy::Conflate, Policy::Conflate, Policy::Conflate, of(drop_trades), of(drop_quotes)];
        let limits = Limits { records: 6, records_total: 10_000 };
        let mut world = World::new(policies, capacity, limits);
        world.run(&steps).unwrap();
        let delivered = world.delivered();
        assert_whole_and_rising(&delivered);
        let all: Vec<Event> = world.all.iter().flat_map(|(_, message)| message.clone()).collect();
        // The books: after each message that came, what they are after all messages up to it.
        let (expected, found) = (books(&all), books(&delivered));
        for (seq, state) in &found {
            prop_assert_eq!(&expected[seq], state, "after {}", seq);
        }
        // Nothing came that is not told by a row, and the counts are exact.
        let totals = world.feed.totals();
        prop_assert_eq!(totals.offered, all.len() as u64);
        prop_assert_eq!(totals.delivered, delivered.len() as u64);
        prop_assert_eq!(totals.offered - totals.delivered, totals.dropped + totals.merged);
        let by = |policy| -> u64 {
            let rows = world.rows.iter().filter(|row| row.policy == policy);
            rows.map(|row| row.records - row.delivered).sum()
        };
        prop_assert_eq!((by(Policy::DropOldest), by(Policy::Conflate)), (totals.dropped, totals.merged));
        for row in &world.rows {
            let covered = world.all.iter().filter(|(topic, message)| {
                *topic == row.topic && message[0].seq >= row.seq_from && message.last().unwrap().seq <= row.seq_to
            });
            prop_assert_eq!(covered.map(|(_, message)| message.len() as u64).sum::<u64>(), row.records);
            let came = delivered.iter().filter(|event| event.seq >= row.seq_from && event.seq <= row.seq_to);
            prop_assert_eq!(came.filter(|event| is_of(row.topic, event)).count() as u64, row.delivered);
        }
        // The newest of everything arrived: nothing stays behind.
        prop_assert_eq!(world.feed.depth(), 0);
        // A replay of the log with the rows gives the same stream, whatever its bursts.
        for burst in [1, 7, usize::MAX] {
            let mut replay = Replayed::new();
            for (topic, name) in NAMES.iter().enumerate() {
                replay.set_topic(topic as u32, name, Some(world.policies[topic]));
            }
            world.rows.iter().for_each(|row| replay.add_row(*row));
            let bursts = world.all.chunks(burst.min(world.all.len().max(1)));
            let again: Vec<Event> = bursts.flat_map(|part| replay.offer(&batch_of(part))).collect();
            prop_assert_eq!(replay.mismatches(), 0);
            prop_assert_eq!(&again, &delivered);
        }
    }

    #[test]
    fn memory_is_bounded_and_a_feed_that_may_drop_nothing_ends(steps in steps(), total in 1..40_usize) {
        let policies = [Policy::Conflate, Policy::Disconnect, Policy::Conflate, Policy::DropOldest, Policy::Disconnect];
        let limits = Limits { records: 5, records_total: total };
        let mut world = World::new(policies, 30, limits);
        let outcome = world.run(&steps);
        assert_whole_and_rising(&world.delivered());
        prop_assert_eq!(world.feed.ended(), outcome.err());
        if outcome.is_err() {
            let before = world.ring.entries.len();
            let late = world.venue.message(3, &[], 20);
            prop_assert_eq!(world.feed.offer(&batch_of(&[(3, late)]), &mut world.ring), Err(outcome.unwrap_err()));
            prop_assert_eq!(world.ring.entries.len(), before);
        }
    }
}

fn is_of(topic: u32, event: &Event) -> bool {
    match topic {
        3 => event.kind == Kind::Trade as u8,
        4 => event.kind == Kind::Quote as u8,
        depth => event.instrument == depth + 1,
    }
}

#[test]
fn with_room_everything_passes_as_it_is() {
    let limits = Limits {
        records: 1,
        records_total: 1,
    };
    let mut world = World::new([Policy::Conflate; 5], 1_000_000, limits);
    let steps: Vec<Step> = (0..200_u8)
        .map(|at| Step::Message(at % 5, vec![(true, 1, 1); usize::from(at % 4)], at % 24))
        .collect();
    world.run(&steps).unwrap();
    let all: Vec<Event> = world.all.iter().flat_map(|(_, message)| message.clone()).collect();
    assert_eq!(world.delivered(), all);
    assert_eq!((world.rows.len(), world.feed.totals().waited), (0, 0));
    // One burst, cut into entries at ends of messages.
    assert!(world.ring.entries.len() >= all.len() / 24);
}

#[test]
fn merged_changes_carry_the_ids_of_both_ends_and_the_newest_sizes() {
    let limits = Limits {
        records: 100,
        records_total: 100,
    };
    let mut world = World::new([Policy::Conflate; 5], 24, limits);
    let message = |levels: &[(bool, i64, i64)], odd| Step::Message(2, levels.to_vec(), odd);
    let filler = vec![(true, 9, 9); 21];
    let steps = [
        message(&filler, 0), // a snapshot that fills the ring
        Step::Cut,
        message(&[(true, 9, 1), (false, 12, 5)], 20),
        message(&[(true, 9, 0), (true, 8, 3)], 20),
        message(&[(false, 12, 6)], 20),
        Step::Cut,
        Step::Take(24),
    ];
    world.run(&steps).unwrap();
    let merged = world.ring.entries.last().unwrap();
    let head = merged[0];
    assert_eq!((head.id, head.price, head.size, head.aux), (6, 1, 0, 3));
    let levels: Vec<_> = merged[1..]
        .iter()
        .map(|each| (each.side, each.price, each.size))
        .collect();
    assert_eq!(levels, [(b'A', 12, 6), (b'B', 8, 3), (b'B', 9, 0)]);
    assert!(merged
        .iter()
        .all(|each| each.flags & flag::SYNTHETIC != 0 && each.id == 6));
    let [row] = world.rows[..] else {
        panic!("{:?}", world.rows)
    };
    assert_eq!((row.records, row.delivered, row.policy), (8, 4, Policy::Conflate));
    assert_eq!(
        (row.seq_from, row.seq_to),
        (2 << SEQ_INDEX_BITS, (4 << SEQ_INDEX_BITS) + 1)
    );
}

#[test]
fn a_message_larger_than_the_ring_ends_the_feed() {
    let limits = Limits {
        records: 100,
        records_total: 100,
    };
    let mut world = World::new([Policy::Conflate; 5], 24, limits);
    let huge = Step::Message(1, vec![(true, 1, 1); 24], 0);
    assert_eq!(world.run(&[huge, Step::Cut]), Err(Ending::TooLarge(1)));
    assert!(world.ring.entries.is_empty());
}

#[test]
fn signals_wait_behind_their_causes_and_share_their_numbers() {
    for policy in [Policy::DropOldest, Policy::Disconnect] {
        let limits = Limits {
            records: 100,
            records_total: 1_000,
        };
        let mut feed = Feed::new(limits);
        feed.set_topic(0, "trade.v.s", Some(policy));
        feed.set_topic(1, "signal.v.s", Some(policy));
        // Full, until the other side takes.
        let mut ring = Ring {
            entry_max: 1_000,
            capacity: 1_000,
            waiting: 1_000,
            entries: Vec::new(),
        };
        let event = |kind, seq| {
            let mut event = Event::new(kind, seq, 1, 1, 7);
            event.flags = flag::LAST;
            event
        };
        for seq in 1..=5_u64 {
            let cause = batch_of(&[(0, vec![event(Kind::Trade, seq)])]);
            // Two indicators of one topic.
            let made = batch_of(&[(1, vec![event(Kind::Signal, seq), event(Kind::Signal, seq)])]);
            feed.offer(&cause.joined(&made), &mut ring).unwrap();
        }
        assert_eq!((feed.depth(), ring.entries.len()), (15, 0));
        ring.waiting = 0;
        feed.flush(&mut ring).unwrap();
        let got: Vec<(u64, u8)> = ring
            .entries
            .concat()
            .iter()
            .map(|event| (event.seq, event.kind))
            .collect();
        let (trade, signal) = (Kind::Trade as u8, Kind::Signal as u8);
        let expected: Vec<(u64, u8)> = (1..=5)
            .flat_map(|seq| [(seq, trade), (seq, signal), (seq, signal)])
            .collect();
        assert_eq!(got, expected);
        assert_eq!((feed.depth(), feed.take_rows().len()), (0, 0));
    }
}
