//! Topics: `channel.venue.symbol`, interned to a small number.

use std::collections::HashMap;

use crate::event::{flag, Event, Kind};

/// The channels of tickd's topics, each a fixed name.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// `trade`
    Trade,
    /// `aggtrade`
    AggTrade,
    /// `quote`
    Quote,
    /// `depth`
    Depth,
    /// `mark`
    Mark,
    /// `index`
    Index,
    /// `funding`
    Funding,
    /// `open_interest`
    OpenInterest,
    /// `liquidation`
    Liquidation,
    /// `book_state`
    BookState,
    /// `status`
    Status,
    /// `gap`
    Gap,
    /// `backfill`: trades fetched later, and the closings of gaps
    Backfill,
    /// `clock`: the recorded clock of the node
    Clock,
    /// `order`: what became of orders of ours
    Order,
    /// `signal`: values of indicators
    Signal,
}

/// The kinds that have a channel of their own; all others make up depth.
const TOPPED: [Kind; 13] = [
    Kind::Trade,
    Kind::Quote,
    Kind::BookState,
    Kind::Status,
    Kind::Funding,
    Kind::Mark,
    Kind::Index,
    Kind::OpenInterest,
    Kind::Liquidation,
    Kind::Gap,
    Kind::Clock,
    Kind::Order,
    Kind::Signal,
];

impl Channel {
    /// The first part of the topic's name.
    pub const fn name(self) -> &'static str {
        match self {
            Channel::Trade => "trade",
            Channel::AggTrade => "aggtrade",
            Channel::Quote => "quote",
            Channel::Depth => "depth",
            Channel::Mark => "mark",
            Channel::Index => "index",
            Channel::Funding => "funding",
            Channel::OpenInterest => "open_interest",
            Channel::Liquidation => "liquidation",
            Channel::BookState => "book_state",
            Channel::Status => "status",
            Channel::Gap => "gap",
            Channel::Backfill => "backfill",
            Channel::Clock => "clock",
            Channel::Order => "order",
            Channel::Signal => "signal",
        }
    }

    /// The channel that events of `kind` belong to (`aggregate`: the venue merged fills).
    pub const fn of(kind: Kind, aggregate: bool) -> Channel {
        match kind {
            Kind::Trade => {
                if aggregate {
                    Channel::AggTrade
                } else {
                    Channel::Trade
                }
            }
            Kind::Quote => Channel::Quote,
            Kind::Mark => Channel::Mark,
            Kind::Index => Channel::Index,
            Kind::Funding => Channel::Funding,
            Kind::OpenInterest => Channel::OpenInterest,
            Kind::Liquidation => Channel::Liquidation,
            Kind::BookState => Channel::BookState,
            Kind::Status => Channel::Status,
            Kind::Gap => Channel::Gap,
            Kind::Clock => Channel::Clock,
            Kind::Order => Channel::Order,
            Kind::Signal => Channel::Signal,
            _ => Channel::Depth,
        }
    }

    /// The channel of an event's topic, as the decoder gave it one.
    #[inline]
    pub fn of_event(event: &Event) -> Channel {
        if event.flags & flag::BACKFILLED != 0 {
            return Channel::Backfill;
        }
        let kind = TOPPED.iter().find(|kind| **kind as u8 == event.kind);
        kind.map_or(Channel::Depth, |kind| {
            Channel::of(*kind, event.flags & flag::AGGREGATE != 0)
        })
    }
}

/// Interned topics of one process: small consecutive numbers, never reused.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    names: Vec<String>,
    index: HashMap<String, u32>,
    /// Of each topic, its place in `streams`.
    groups: Vec<u32>,
    /// Channel and venue, each pair once, in the order of appearance.
    streams: Vec<(String, String)>,
}

impl Topics {
    /// The number of `name`, given out at first sight.
    pub fn intern(&mut self, name: &str) -> u32 {
        if let Some(topic) = self.index.get(name) {
            return *topic;
        }
        let topic = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), topic);
        let group = self.group_of(name);
        self.groups.push(group);
        topic
    }

    fn group_of(&mut self, name: &str) -> u32 {
        let mut parts = name.splitn(3, '.');
        let channel = parts.next().unwrap_or_default();
        let venue = parts.next().unwrap_or_default();
        let known = self
            .streams
            .iter()
            .position(|pair| pair.0 == channel && pair.1 == venue);
        known.unwrap_or_else(|| {
            self.streams.push((channel.to_owned(), venue.to_owned()));
            self.streams.len() - 1
        }) as u32
    }

    /// Which of `streams` a topic belongs to.
    pub fn group(&self, topic: u32) -> Option<u32> {
        self.groups.get(topic as usize).copied()
    }

    /// The pairs of channel and venue that there are topics of.
    pub fn streams(&self) -> &[(String, String)] {
        &self.streams
    }

    /// The name of `topic`.
    pub fn name(&self, topic: u32) -> Option<&str> {
        self.names.get(topic as usize).map(String::as_str)
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
