//! What the decoder says of itself in sums: by channel and venue, and how the books stand. It changes nothing.

use super::{venues, Decoder};
use crate::event::BookState;
use crate::topic::Channel;

/// The topics of one channel of one venue together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStats<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The venue.
    pub venue: &'a str,
    /// Events since the start.
    pub events: u64,
    /// Monotonic stamp of the last record that had one, ns.
    pub last_mono_ns: i64,
}

/// How many books of a venue are in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookCount {
    /// The venue.
    pub venue: &'static str,
    /// `buffering`, `synced`, `gap`, or `shed`: given up on purpose.
    pub state: &'static str,
    /// Books.
    pub count: u64,
}

impl Decoder {
    /// Sums over the topics of each channel and venue, in the order of their first topics.
    pub fn stream_stats(&self) -> Vec<StreamStats<'_>> {
        let topics = &self.burst.topics;
        let mut sums: Vec<_> = topics
            .streams()
            .iter()
            .map(|(channel, venue)| StreamStats {
                channel,
                venue,
                events: 0,
                last_mono_ns: 0,
            })
            .collect();
        for (topic, events, mono_ns) in self.burst.stats() {
            let group = topics.group(topic).and_then(|group| sums.get_mut(group as usize));
            if let Some(sum) = group {
                sum.events += events;
                sum.last_mono_ns = sum.last_mono_ns.max(mono_ns);
            }
        }
        sums
    }

    /// The books that have received something, counted by venue and state.
    pub fn book_counts(&self) -> Vec<BookCount> {
        let mut counts: Vec<BookCount> = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
            let shed = slot
                .chains
                .get(Channel::Depth as usize)
                .is_some_and(|chain| chain.is_shed());
            let state = match slot.sync.state() {
                BookState::Init => continue,
                _ if shed => "shed",
                BookState::Buffering => "buffering",
                BookState::Synced => "synced",
                BookState::Gap => "gap",
            };
            let (venue, _) = self.stage.symbols.name(number as u32).unwrap_or_default();
            let venue = venues::decoder(venue).map_or("", |decoder| decoder.venue());
            match counts
                .iter_mut()
                .find(|each| each.venue == venue && each.state == state)
            {
                Some(known) => known.count += 1,
                None => counts.push(BookCount { venue, state, count: 1 }),
            }
        }
        counts
    }
}
