//! What the decoder remembers of one symbol of one venue: continuity per channel, the synchroniser, topic numbers.

use crate::book::sync::{Rule, Synchroniser};
use crate::decode::continuity::{Chain, Numbering};
use crate::decode::fill::Ledger;
use crate::decode::stage::Message;
use crate::decode::symbols::Symbols;
use crate::decode::venue::VenueDecoder;
use crate::decode::venues;
use crate::event::{BookState, ID_UNDEF};
use crate::topic::{Channel, Topics};

/// The channels that have a chain, in the order of their numbers.
pub(super) const CHAINED: [Channel; 9] = [
    Channel::Trade,
    Channel::AggTrade,
    Channel::Quote,
    Channel::Depth,
    Channel::Mark,
    Channel::Index,
    Channel::Funding,
    Channel::OpenInterest,
    Channel::Liquidation,
];
const CHANNELS: usize = Channel::Backfill as usize + 1;
const NO_TOPIC: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    number: u32,
    topics: [u32; CHANNELS],
    numberings: [Numbering; CHAINED.len()],
    pub(super) chains: [Chain; CHAINED.len()],
    pub(super) sync: Synchroniser,
    /// What is missing of its trades.
    pub(super) ledger: Ledger,
    merged_by_trade_id: bool,
    /// Receive stamp of the last depth message: where a broken chain began.
    pub(super) depth_recv_ns: i64,
}

impl Slot {
    pub(super) fn new(number: u32, venue: &dyn VenueDecoder) -> Self {
        Slot {
            number,
            topics: [NO_TOPIC; CHANNELS],
            numberings: CHAINED.map(|channel| venue.numbering(channel)),
            chains: Default::default(),
            sync: Synchroniser::new(venue.rule()),
            ledger: Ledger::default(),
            merged_by_trade_id: venue.merged_by_trade_id(),
            depth_recv_ns: 0,
        }
    }

    /// Its position in the decoder's tables.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Whether merged trades are numbered by the single trades in them.
    pub(super) const fn merged_by_trade_id(&self) -> bool {
        self.merged_by_trade_id
    }

    #[inline]
    pub(super) fn numbering(&self, channel: Channel) -> Numbering {
        self.numberings
            .get(channel as usize)
            .copied()
            .unwrap_or(Numbering::Rising)
    }

    /// Whether its trades are numbered by a running total.
    pub(super) fn is_counted(&self) -> bool {
        self.numbering(Channel::Trade) == Numbering::Counted
    }

    /// How `message` is numbered: in a counted channel, one without a total is not counted.
    #[inline]
    pub(super) fn numbering_of(&self, message: &Message) -> Numbering {
        match self.numbering(message.channel) {
            Numbering::Counted if message.first == ID_UNDEF => Numbering::Rising,
            numbering => numbering,
        }
    }

    #[inline]
    pub(super) fn chain_mut(&mut self, channel: Channel) -> Option<&mut Chain> {
        self.chains.get_mut(channel as usize)
    }

    /// Whether the depth ids count changes one by one, so that a range of them has a size.
    pub(super) fn counts_ids(&self) -> bool {
        self.sync.rule() == Rule::BinanceSpot
    }

    /// The last id before `message` in its channel, where the numbering tells.
    #[inline]
    pub(super) fn link(&self, message: &Message) -> Option<u64> {
        match self.numbering_of(message) {
            Numbering::Gapless | Numbering::Counted => Some(message.first.saturating_sub(1)),
            Numbering::Rising => None,
            Numbering::Linked if self.counts_ids() => Some(message.first.saturating_sub(1)),
            Numbering::Linked => message.previous,
        }
    }

    /// Whether another live leg keeps the book, and has brought it to `last` or further.
    pub(super) fn is_ahead_of(&self, connection: u32, last: u64) -> bool {
        let chain = self.chains.get(Channel::Depth as usize);
        let other = chain.is_some_and(|chain| chain.belongs_to_another(connection));
        other && self.sync.state() == BookState::Synced && last <= self.sync.last_id()
    }

    /// The topic number of `channel`, given out at its first event.
    #[inline]
    pub(super) fn topic(&mut self, channel: Channel, symbols: &Symbols, topics: &mut Topics) -> u32 {
        match self.topics.get(channel as usize) {
            Some(topic) if *topic != NO_TOPIC => *topic,
            _ => self.intern(channel, symbols, topics),
        }
    }

    #[cold]
    fn intern(&mut self, channel: Channel, symbols: &Symbols, topics: &mut Topics) -> u32 {
        let (venue, symbol) = symbols.name(self.number).unwrap_or_default();
        let venue = venues::decoder(venue).map_or("", |decoder| decoder.venue());
        let topic = topics.intern(&format!("{}.{venue}.{symbol}", channel.name()));
        if let Some(place) = self.topics.get_mut(channel as usize) {
            *place = topic;
        }
        topic
    }
}
