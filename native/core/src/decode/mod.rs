//! Records in, events out: the decoder of a whole node, a pure function of the records in order.
//!
//! `push` takes the records one by one, `finish` hands out what they said, grouped by topic. Where the records are cut into
//! bursts changes neither an event nor its number. The stages of one frame: a venue decoder (`venues`) reads it into the
//! `stage`; `commit` judges each message (`continuity`, `book::sync`), drops what another leg has brought already, and adds
//! the conclusions (GAP, BOOK_STATE) behind the data.

use crate::batch::Batch;
use crate::book::sync::Verdict;
use crate::error::{Error, Reason, Result};
use crate::event::{flag, Event, GapCause, Kind, SEQ_INDEX_BITS, TS_UNDEF};
use crate::instrument::Registry;
use crate::record::{numbers_taken, Record, RecordType};
use crate::topic::Channel;

pub mod binance;
mod burst;
mod checkpoint;
mod connections;
pub mod continuity;
mod control;
pub mod fill;
pub mod json;
pub mod okx;
mod okx_checksum;
mod picture;
pub mod report;
pub mod shioaji;
mod shioaji_ticks;
mod slot;
pub mod stage;
pub mod symbols;
mod taiwan;
pub mod venue;
pub mod venues;

use burst::Burst;
use connections::Connections;
use continuity::{Hole, Judgement, Numbering, Place, COUNT_MASK};
use fill::{closing_event, Closing};
pub use picture::{BookCount, StreamStats};
pub use report::{Notice, NoticeKind, Refusal, Report};
use slot::Slot;
use stage::{time_flags, Message, Stage};
use venue::{Request, VenueDecoder};

/// Most conclusions from one message: a gap of its connection, a gap of its chain, a state of its book, the end of a
/// gap that it was the last missing part of.
const CONCLUSIONS_MAX: usize = 4;

/// The decoder of a node: registry, connections, synchronisers, continuity.
#[derive(Debug, Default)]
pub struct Decoder {
    stage: Stage,
    burst: Burst,
    registry: Registry,
    connections: Connections,
    /// One per slot of `stage.symbols`.
    slots: Vec<Slot>,
    /// Conclusions of the frame being committed.
    conclusions: Vec<Conclusion>,
    frames: u64,
    events: u64,
    /// Grows with every change of a ledger; no part of the state.
    ledger_changes: u64,
    /// The records were written by a build that kept no ledger, and are read as it read them.
    without_ledger: bool,
}

/// What the decoder concludes from a message or a control record; becomes an event behind the frame's data.
#[derive(Debug, Clone, Copy)]
enum Conclusion {
    Gap {
        slot: u32,
        channel: Channel,
        hole: Hole,
        /// The bits above the ids of a counted channel.
        count: u64,
    },
    /// Nothing more can be expected to fill a gap.
    Closed {
        slot: u32,
        closing: Closing,
    },
    Book {
        slot: u32,
        verdict: Verdict,
        ts_event: i64,
    },
    /// Frames `first..=last` of the node are missing.
    Frames {
        hole: Hole,
        until_ns: i64,
    },
    /// The node's clock, recorded.
    Clock,
}

impl Decoder {
    /// A decoder that knows nothing yet.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Takes the next record of the node, in `frame_no` order. Bad input is counted and kept as a refusal, never an error.
    pub fn push(&mut self, record: &Record<'_>) {
        self.frames += 1;
        self.burst.note(record);
        let done = match record.kind {
            RecordType::Text | RecordType::Binary | RecordType::Rest => self.venue_frame(record),
            RecordType::Control => self.control(record),
            RecordType::Checkpoint => self.checkpoint(record.payload),
        };
        if let Err(error) = done {
            self.stage.roll_back();
            self.stage.report.refuse(record.frame_no, record.connection, error);
        }
    }

    /// Takes concatenated records. Errors: the first bytes that are no record; everything before them was taken.
    pub fn push_all(&mut self, records: &[u8]) -> Result<()> {
        let mut at = 0;
        while let Some(rest) = records.get(at..).filter(|rest| !rest.is_empty()) {
            let read = crate::record::read_record(rest);
            let (record, used) = read.map_err(|error| Error::new(error.reason, error.position + at))?;
            self.push(&record);
            at += used;
        }
        Ok(())
    }

    /// The events of all records pushed since the last call, grouped by topic.
    pub fn finish(&mut self) -> Batch {
        self.events += self.stage.events.len() as u64;
        self.burst.finish(&mut self.stage.events)
    }

    /// The name of a topic number.
    pub fn topic_name(&self, topic: u32) -> Option<&str> {
        self.burst.topics.name(topic)
    }

    /// The number of a topic that something else than a frame feeds.
    pub fn intern_topic(&mut self, name: &str) -> u32 {
        self.burst.topics.intern(name)
    }

    /// How many topics there are; their numbers are `0..topic_count`.
    pub fn topic_count(&self) -> usize {
        self.burst.topics.len()
    }

    /// Per topic: number, events since the start, monotonic stamp of the last record that had one.
    pub fn topic_stats(&self) -> impl Iterator<Item = (u32, u64, i64)> + '_ {
        self.burst.stats()
    }

    /// The instruments of the node.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Notices, refusals, counters.
    pub const fn report_mut(&mut self) -> &mut Report {
        &mut self.stage.report
    }

    /// All counters by name, sorted.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters: Vec<_> = self
            .stage
            .report
            .counters()
            .iter()
            .map(|(name, count)| (*name, *count))
            .collect();
        counters.push(("frames", self.frames));
        counters.push(("events", self.events + self.stage.events.len() as u64));
        counters.sort_unstable();
        counters
    }

    /// Everything later events depend on, as the payload of a checkpoint record (versioned JSON, the same bytes for the same
    /// state). Events that were not yet taken by `finish` are not in it.
    pub fn state(&self) -> Vec<u8> {
        checkpoint::save(self)
    }

    /// Takes a state back; what the decoder knew before is gone, its topics and counters stay.
    ///
    /// Errors: `Malformed`, `Unsupported` (another version); the decoder is then unchanged.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        checkpoint::load(self, state)
    }

    /// Whether a checkpoint record may give this decoder its state.
    fn is_fresh(&self) -> bool {
        self.connections.is_empty() && self.slots.is_empty() && self.registry.all().is_empty()
    }

    #[cold]
    fn checkpoint(&mut self, payload: &[u8]) -> Result<()> {
        self.stage.begin(0, 0, 0, 0);
        if self.is_fresh() {
            return self.restore(payload);
        }
        if self.state() != payload {
            self.stage.report.count("checkpoint_mismatch", 1);
        }
        Ok(())
    }

    fn venue_frame(&mut self, record: &Record<'_>) -> Result<()> {
        let venue = self.connections.seen(record.connection, record.recv_ns);
        self.stage
            .begin(venue.unwrap_or(0), record.connection, record.frame_no, record.recv_ns);
        let Some(decoder) = venue.and_then(venues::decoder) else {
            if record.connection == 0 && record.kind == RecordType::Rest {
                // Asked before any connection stood (instrument lists): kept for audits, no market data.
                self.stage.report.count("rest_ignored", 1);
                return Ok(());
            }
            self.stage.report.count("unknown_connection", 1);
            return Err(Error::new(Reason::UnknownMessage, 0));
        };
        match record.kind {
            RecordType::Binary => decoder.binary(record.payload, &mut self.stage)?,
            RecordType::Rest => self.rest_reply(decoder, record.payload)?,
            _ => {
                utf8(record.payload)?;
                decoder.text(record.payload, &mut self.stage)?;
            }
        }
        if self.connections.hit_is_backfill() {
            // A day of trades closes what was open, and concludes nothing else.
            self.fits_its_numbers(record, self.gaps().count())?;
            self.commit::<true>(record);
            return Ok(());
        }
        self.fits_its_numbers(record, CONCLUSIONS_MAX * self.stage.messages.len())?;
        self.commit::<false>(record);
        Ok(())
    }

    #[cold]
    fn rest_reply(&mut self, decoder: &dyn VenueDecoder, payload: &[u8]) -> Result<()> {
        let text = utf8(payload)?;
        let (line, body) = text
            .split_once('\n')
            .ok_or(Error::new(Reason::Truncated, payload.len()))?;
        let request = Request::parse(line)?;
        if request.status != 200 {
            self.stage.count("rest_errors");
            return Ok(());
        }
        let body_at = line.len() + 1;
        let done = decoder.rest(&request, body.as_bytes(), &mut self.stage);
        done.map_err(|error| Error::new(error.reason, error.position + body_at))
    }

    /// Refuses a frame that says more than its numbers can name: the next frame's would be taken.
    #[inline]
    fn fits_its_numbers(&self, record: &Record<'_>, conclusions: usize) -> Result<()> {
        let count = self.stage.events.len() - self.stage.base() + conclusions;
        if count <= 1 << SEQ_INDEX_BITS || count as u64 <= numbers_taken(record.payload.len()) << SEQ_INDEX_BITS {
            return Ok(());
        }
        Err(Error::new(Reason::TooLarge, record.payload.len()))
    }

    /// Judges the messages of the frame in the stage; keeps, drops, concludes. What was fetched later (`BACKFILL`) is judged by
    /// what is missing, and has a topic of its own.
    #[inline]
    fn commit<const BACKFILL: bool>(&mut self, record: &Record<'_>) {
        let messages = std::mem::take(&mut self.stage.messages);
        let conclusion_seq = self.stage.next_seq();
        let mut kept = self.stage.base();
        for message in &messages {
            if BACKFILL && !self.fill(message) {
                self.stage.report.count("backfill_repeats", 1);
                continue;
            }
            if !BACKFILL && !self.judge(record, message) {
                self.stage.report.count("duplicates", 1);
                continue;
            }
            let channel = if BACKFILL { Channel::Backfill } else { message.channel };
            let len = message.stop - message.start;
            if kept != message.start {
                self.stage.events.copy_within(message.start..message.stop, kept);
            }
            if let Some(slot) = self.slots.get_mut(message.slot as usize) {
                let topic = slot.topic(channel, &self.stage.symbols, &mut self.burst.topics);
                self.burst.run(topic, kept, kept + len, record.mono_ns);
            }
            kept += len;
        }
        self.stage.events.truncate(kept);
        self.stage.messages = messages;
        if !self.conclusions.is_empty() {
            self.conclude(record, conclusion_seq);
        }
    }

    /// Whether `message` is to be emitted; notes conclusions.
    #[inline]
    fn judge(&mut self, record: &Record<'_>, message: &Message) -> bool {
        let Some(slot) = self.slots.get_mut(message.slot as usize) else {
            return false;
        };
        let (channel, in_stream) = (message.channel, record.kind != RecordType::Rest);
        let (mut hole, mut count) = (None, 0);
        let mut is_late = false;
        if in_stream {
            let numbering = slot.numbering_of(message);
            if numbering == Numbering::Counted {
                count = message.last & !COUNT_MASK;
            }
            let place = Place {
                last: message.last,
                link: slot.link(message),
                ts_event: message.ts_event,
            };
            let behind = message.snapshot && slot.is_ahead_of(record.connection, message.last);
            let Some(chain) = slot.chain_mut(channel) else {
                return true;
            };
            // A snapshot begins the chain anew, unless it is only the subscription of a second leg to a book that is further.
            if message.snapshot && !behind {
                hole = chain.adopt(record.connection, message.last, record.recv_ns);
            } else {
                match chain.judge(numbering, record.connection, place, record.recv_ns) {
                    Judgement::Emit => {}
                    Judgement::Late => is_late = true,
                    Judgement::EmitAfter(found) => hole = Some(found.told(numbering)),
                    Judgement::Duplicate => return false,
                }
            }
        }
        if let Some(hole) = hole {
            self.conclusions.push(Conclusion::Gap {
                slot: message.slot,
                channel,
                hole,
                count,
            });
        }
        if is_late {
            self.arrived_late(message);
        }
        if channel == Channel::Depth {
            self.synchronise(record, message);
        }
        true
    }

    fn synchronise(&mut self, record: &Record<'_>, message: &Message) {
        let Some(slot) = self.slots.get_mut(message.slot as usize) else {
            return;
        };
        let since_ns = std::mem::replace(&mut slot.depth_recv_ns, record.recv_ns);
        let mut verdict = match message.snapshot {
            true => slot.sync.snapshot(message.last),
            false => slot.sync.change(message.first, message.last, message.previous),
        };
        if let Some((said, reckoned)) = message.distrust {
            verdict = slot.sync.distrust(said, reckoned).or(verdict);
        }
        let Some(verdict) = verdict else { return };
        if let Some((first, last)) = slot.sync.rule().missing(&verdict) {
            let missing = slot.counts_ids().then(|| last - first + 1);
            let hole = Hole {
                cause: GapCause::Sequence,
                since_ns,
                range: Some((first, last)),
                missing,
            };
            self.conclusions.push(Conclusion::Gap {
                slot: message.slot,
                channel: Channel::Depth,
                hole,
                count: 0,
            });
        }
        self.conclusions.push(Conclusion::Book {
            slot: message.slot,
            verdict,
            ts_event: message.ts_event,
        });
        if slot.sync.snapshot_wanted() {
            let (_, symbol) = self.stage.symbols.name(message.slot).unwrap_or_default();
            let report = &mut self.stage.report;
            report.count("resyncs", 1);
            report.notice(record.connection, record.frame_no, NoticeKind::SnapshotWanted, symbol);
        }
    }

    /// Writes the conclusions behind the frame's data, numbered on from `seq`.
    #[cold]
    fn conclude(&mut self, record: &Record<'_>, seq: u64) {
        let mut conclusions = std::mem::take(&mut self.conclusions);
        for (index, conclusion) in conclusions.drain(..).enumerate() {
            let seq = seq.wrapping_add(index as u64);
            let (event, channel, slot) = match conclusion {
                Conclusion::Gap {
                    slot,
                    channel,
                    hole,
                    count,
                } => {
                    let event = gap_event(&hole, channel, seq, record.recv_ns);
                    self.note_gap(slot, channel, &hole, count, &event);
                    (event, Channel::Gap, Some(slot))
                }
                Conclusion::Closed { slot, closing } => {
                    let counted = self.slots.get(slot as usize).is_some_and(Slot::is_counted);
                    let event = closing_event(&closing, counted, seq, record.recv_ns);
                    (event, Channel::Backfill, Some(slot))
                }
                Conclusion::Clock => (clock_event(seq, record.recv_ns), Channel::Clock, None),
                Conclusion::Frames { hole, until_ns } => {
                    (gap_event(&hole, Channel::Gap, seq, until_ns), Channel::Gap, None)
                }
                Conclusion::Book {
                    slot,
                    verdict,
                    ts_event,
                } => (
                    book_event(&verdict, seq, ts_event, record.recv_ns),
                    Channel::BookState,
                    Some(slot),
                ),
            };
            self.emit(event, channel, slot, record.mono_ns);
        }
        self.conclusions = conclusions;
    }

    fn emit(&mut self, mut event: Event, channel: Channel, slot: Option<u32>, mono_ns: i64) {
        if channel == Channel::Gap {
            self.stage.report.count("gaps", 1);
        }
        let topic = match slot {
            None if channel == Channel::Clock => self.burst.topics.intern("clock.node.tick"),
            None => self.burst.topics.intern("gap.tickd.frames"),
            Some(number) => {
                let Some(slot) = self.slots.get_mut(number as usize) else {
                    return;
                };
                event.instrument = self.stage.symbols.market(number).map_or(0, |market| market.instrument);
                slot.topic(channel, &self.stage.symbols, &mut self.burst.topics)
            }
        };
        let at = self.stage.events.len();
        self.stage.events.push(event);
        self.burst.run(topic, at, at + 1, mono_ns);
    }
}

fn utf8(payload: &[u8]) -> Result<&str> {
    std::str::from_utf8(payload).map_err(|error| Error::new(Reason::Malformed, error.valid_up_to()))
}

fn gap_event(hole: &Hole, channel: Channel, seq: u64, until_ns: i64) -> Event {
    let mut event = Event::new(Kind::Gap, seq, hole.since_ns, until_ns, 0);
    if let Some((first, last)) = hole.range {
        event.id = first;
        event.price = i64::try_from(last).unwrap_or(i64::MAX);
    }
    if let Some(missing) = hole.missing {
        event.size = i64::try_from(missing).unwrap_or(i64::MAX);
    }
    event.aux = hole.cause as i64 | (channel as i64) << 8;
    event.flags = flag::SYNTHETIC | flag::LAST | time_flags(hole.since_ns, until_ns);
    event
}

fn clock_event(seq: u64, now_ns: i64) -> Event {
    let mut event = Event::new(Kind::Clock, seq, now_ns, now_ns, 0);
    event.flags = flag::SYNTHETIC | flag::LAST;
    event
}

fn book_event(verdict: &Verdict, seq: u64, ts_event: i64, recv_ns: i64) -> Event {
    // A missing id is `ID_UNDEF`, which as an i64 becomes the sentinel of prices and sizes.
    let id = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
    let mut event = Event::new(Kind::BookState, seq, ts_event, recv_ns, 0);
    event.id = verdict.last;
    event.price = id(verdict.expected);
    event.size = id(verdict.received);
    event.aux = verdict.state as i64;
    event.flags = flag::SYNTHETIC | flag::LAST | time_flags(ts_event, recv_ns);
    event
}

/// The time of conclusions that no venue message caused.
const NO_VENUE_TIME: i64 = TS_UNDEF;
