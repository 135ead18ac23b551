//! The last values of every instrument: trade, both sides of the quote, top of the book, mark, index, funding, …
//!
//! Its one job is to answer "what was last" in constant time and bounded memory. It can be written down with the number of
//! the last event in it and taken back; what is not in the events (levels below the top, orders) is not here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{flag, side, Event, Kind, EVENT_BYTES};

/// Instruments that are kept at most: 11 MiB of values. The largest universe of the supported venues has about 4,000.
pub const INSTRUMENTS_MAX: usize = 1 << 14;

const MAGIC: &[u8; 4] = b"TKLV";
const VERSION: u16 = 1;
/// magic, version, two bytes of nothing, events, tops, seq
const HEAD_BYTES: usize = 4 + 2 + 2 + 4 + 4 + 8;
const TOP_BYTES: usize = 4 + 5 * 8;
const HASH_BYTES: usize = 8;

/// Instrument ids are hashes already: one multiplication spreads them over the table's bits.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The best level of both sides, as the book had it at `seq`; a side without levels has `PRICE_UNDEF` and size 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Top {
    /// Best bid.
    pub bid_price: i64,
    /// Size of the best bid.
    pub bid_size: i64,
    /// Best ask.
    pub ask_price: i64,
    /// Size of the best ask.
    pub ask_size: i64,
    /// Last event of the message that made it so; 0: no book yet.
    pub seq: u64,
}

/// Which of the last events of an instrument.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The last trade that happened (no trial match, none fetched later).
    Trade,
    /// The bid of the last quote.
    Bid,
    /// The ask of the last quote.
    Ask,
    /// Mark price.
    Mark,
    /// Index price.
    Index,
    /// Funding rate.
    Funding,
    /// Open interest.
    OpenInterest,
    /// Forced order.
    Liquidation,
    /// The venue's or the instrument's status.
    Status,
}

const WHATS: usize = What::Status as usize + 1;

/// Whose last event this is; `None`: of nothing that is kept.
#[inline]
const fn what_of(event: &Event) -> Option<What> {
    const TRADE: u8 = Kind::Trade as u8;
    const QUOTE: u8 = Kind::Quote as u8;
    const MARK: u8 = Kind::Mark as u8;
    const INDEX: u8 = Kind::Index as u8;
    const FUNDING: u8 = Kind::Funding as u8;
    const OPEN_INTEREST: u8 = Kind::OpenInterest as u8;
    const LIQUIDATION: u8 = Kind::Liquidation as u8;
    const STATUS: u8 = Kind::Status as u8;
    match event.kind {
        TRADE if event.flags & (flag::BACKFILLED | flag::TRIAL) == 0 => Some(What::Trade),
        QUOTE if event.side == side::ASK => Some(What::Ask),
        QUOTE => Some(What::Bid),
        MARK => Some(What::Mark),
        INDEX => Some(What::Index),
        FUNDING => Some(What::Funding),
        OPEN_INTEREST => Some(What::OpenInterest),
        LIQUIDATION => Some(What::Liquidation),
        STATUS => Some(What::Status),
        _ => None,
    }
}

/// No kind has number 0.
const NOTHING: Event = Event {
    kind: 0,
    ..Event::new(Kind::Trade, 0, 0, 0, 0)
};

#[derive(Debug, Clone)]
struct Slot {
    instrument: u32,
    last: [Event; WHATS],
    top: Option<Top>,
}

/// Why a written image is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadImage {
    /// Not an image, or cut short.
    Shape,
    /// Of another version.
    Version(u16),
    /// The checksum differs.
    Checksum,
}

/// The cache.
#[derive(Debug, Clone, Default)]
pub struct LastValues {
    slots: Vec<Slot>,
    index: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
    /// The instrument of the event before, and its slot: most events come in runs.
    recent: (u32, u32),
    seq: u64,
    refused: u64,
}

impl LastValues {
    /// The slot of an instrument, which is given one at first sight; `None` when all are taken.
    #[inline]
    pub fn slot(&mut self, instrument: u32) -> Option<usize> {
        if self.recent.0 == instrument && instrument != 0 {
            return Some(self.recent.1 as usize);
        }
        self.find_slot(instrument)
    }

    fn find_slot(&mut self, instrument: u32) -> Option<usize> {
        let slot = match self.index.get(&instrument) {
            Some(slot) => *slot,
            None if self.slots.len() >= INSTRUMENTS_MAX => {
                self.refused += 1;
                return None;
            }
            None => {
                let slot = self.slots.len() as u32;
                self.index.insert(instrument, slot);
                self.slots.push(Slot {
                    instrument,
                    last: [NOTHING; WHATS],
                    top: None,
                });
                slot
            }
        };
        self.recent = (instrument, slot);
        Some(slot as usize)
    }

    /// The slot of an instrument that has one.
    pub fn known(&self, instrument: u32) -> Option<usize> {
        self.index.get(&instrument).map(|slot| *slot as usize)
    }

    /// Takes an event of the instrument in `slot`; an older one than the last of its sort changes nothing.
    #[inline]
    pub fn take_at(&mut self, slot: usize, event: &Event) {
        self.seq = self.seq.max(event.seq);
        let Some(what) = what_of(event) else { return };
        if let Some(last) = self
            .slots
            .get_mut(slot)
            .and_then(|slot| slot.last.get_mut(what as usize))
        {
            if event.seq >= last.seq {
                *last = *event;
            }
        }
    }

    /// Takes events, grouped by topic or in order.
    pub fn take(&mut self, events: &[Event]) {
        for event in events {
            if let Some(slot) = self.slot(event.instrument) {
                self.take_at(slot, event);
            }
        }
    }

    /// Sets the top of the book of the instrument in `slot`.
    pub fn set_top(&mut self, slot: usize, top: Top) {
        self.seq = self.seq.max(top.seq);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.top = Some(top);
        }
    }

    /// The last event of that sort, if there was one.
    pub fn last(&self, instrument: u32, what: What) -> Option<&Event> {
        let slot = self.slots.get(self.known(instrument)?)?;
        slot.last.get(what as usize).filter(|event| event.kind != 0)
    }

    /// The top of the book, if there was a book.
    pub fn top(&self, instrument: u32) -> Option<Top> {
        self.slots.get(self.known(instrument)?)?.top
    }

    /// The highest number among the events taken.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Instruments that have a slot.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Events that found no slot.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The image: everything here, with its number, versioned and with a checksum.
    pub fn snapshot(&self) -> Vec<u8> {
        let all = || self.slots.iter().flat_map(|slot| slot.last.iter());
        let events: Vec<&Event> = all().filter(|event| event.kind != 0).collect();
        let tops: Vec<(u32, Top)> = self
            .slots
            .iter()
            .filter_map(|slot| slot.top.map(|top| (slot.instrument, top)))
            .collect();
        let mut image =
            Vec::with_capacity(HEAD_BYTES + events.len() * EVENT_BYTES + tops.len() * TOP_BYTES + HASH_BYTES);
        image.extend_from_slice(MAGIC);
        image.extend_from_slice(&VERSION.to_le_bytes());
        image.extend_from_slice(&[0, 0]);
        image.extend_from_slice(&(events.len() as u32).to_le_bytes());
        image.extend_from_slice(&(tops.len() as u32).to_le_bytes());
        image.extend_from_slice(&self.seq.to_le_bytes());
        for event in events {
            image.extend_from_slice(&event.to_bytes());
        }
        for (instrument, top) in tops {
            image.extend_from_slice(&instrument.to_le_bytes());
            for value in [top.bid_price, top.bid_size, top.ask_price, top.ask_size, top.seq as i64] {
                image.extend_from_slice(&value.to_le_bytes());
            }
        }
        image.extend_from_slice(&xxh3_64(&image).to_le_bytes());
        image
    }

    /// Takes an image back, in place of everything here; the number of the last event in it.
    ///
    /// Errors: `BadImage`; nothing has changed then.
    pub fn restore(&mut self, image: &[u8]) -> Result<u64, BadImage> {
        let (head, mut rest) = image.split_at_checked(HEAD_BYTES).ok_or(BadImage::Shape)?;
        let (magic, head) = head.split_at_checked(4).ok_or(BadImage::Shape)?;
        if magic != MAGIC {
            return Err(BadImage::Shape);
        }
        let number = |at: usize, len: usize| little(head.get(at..at + len).unwrap_or_default());
        match number(0, 2) as u16 {
            VERSION => {}
            other => return Err(BadImage::Version(other)),
        }
        let (events, tops, seq) = (number(4, 4) as usize, number(8, 4) as usize, number(12, 8));
        if rest.len() != events * EVENT_BYTES + tops * TOP_BYTES + HASH_BYTES {
            return Err(BadImage::Shape);
        }
        let body = image.len() - HASH_BYTES;
        if xxh3_64(image.get(..body).unwrap_or_default()) != little(image.get(body..).unwrap_or_default()) {
            return Err(BadImage::Checksum);
        }
        let mut fresh = LastValues::default();
        for bytes in part(&mut rest, events * EVENT_BYTES).chunks_exact(EVENT_BYTES) {
            fresh.take(
                &bytes
                    .first_chunk()
                    .map(Event::from_bytes)
                    .map_or([NOTHING], |event| [event]),
            );
        }
        for bytes in part(&mut rest, tops * TOP_BYTES).chunks_exact(TOP_BYTES) {
            let value = |at: usize| little(bytes.get(4 + at * 8..12 + at * 8).unwrap_or_default()) as i64;
            let top = Top {
                bid_price: value(0),
                bid_size: value(1),
                ask_price: value(2),
                ask_size: value(3),
                seq: value(4) as u64,
            };
            if let Some(slot) = fresh.slot(little(bytes.get(..4).unwrap_or_default()) as u32) {
                fresh.set_top(slot, top);
            }
        }
        fresh.seq = seq;
        *self = fresh;
        Ok(seq)
    }
}

/// The first `count` bytes, which are taken off.
fn part<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(count).unwrap_or((rest, &[]));
    *rest = left;
    taken
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PRICE_UNDEF;

    fn event(kind: Kind, seq: u64, instrument: u32, price: i64) -> Event {
        let mut event = Event::new(kind, seq, 1, 2, instrument);
        event.price = price;
        event
    }

    fn filled() -> LastValues {
        let mut values = LastValues::default();
        let mut ask = event(Kind::Quote, 3, 7, 102);
        ask.side = side::ASK;
        values.take(&[
            event(Kind::Trade, 1, 7, 100),
            event(Kind::Quote, 2, 7, 101),
            ask,
            event(Kind::Trade, 4, 8, 50),
            event(Kind::Mark, 5, 7, 99),
            event(Kind::Trade, 6, 7, 103),
            event(Kind::Depth, 7, 7, 1),
        ]);
        let slot = values.slot(8).unwrap();
        let top = Top {
            bid_price: 1,
            bid_size: 2,
            ask_price: PRICE_UNDEF,
            ask_size: 0,
            seq: 9,
        };
        values.set_top(slot, top);
        values
    }

    fn price(values: &LastValues, instrument: u32, what: What) -> Option<i64> {
        values.last(instrument, what).map(|event| event.price)
    }

    #[test]
    fn the_newest_of_each_sort_is_kept_per_instrument() {
        let values = filled();
        assert_eq!(price(&values, 7, What::Trade), Some(103));
        assert_eq!(price(&values, 8, What::Trade), Some(50));
        assert_eq!(
            (price(&values, 7, What::Bid), price(&values, 7, What::Ask)),
            (Some(101), Some(102))
        );
        assert_eq!(
            (price(&values, 7, What::Mark), price(&values, 7, What::Index)),
            (Some(99), None)
        );
        assert_eq!((price(&values, 9, What::Trade), values.top(7)), (None, None));
        assert_eq!(
            (values.seq(), values.count(), values.top(8).unwrap().bid_size),
            (9, 2, 2)
        );
    }

    #[test]
    fn what_was_fetched_later_only_tried_or_older_is_not_the_last_trade() {
        let mut values = filled();
        for flags in [flag::BACKFILLED, flag::TRIAL] {
            let mut late = event(Kind::Trade, 20, 7, 1);
            late.flags = flags;
            values.take(&[late]);
        }
        values.take(&[event(Kind::Trade, 5, 7, 1)]);
        assert_eq!(price(&values, 7, What::Trade), Some(103));
    }

    #[test]
    fn an_image_gives_everything_back_and_any_other_byte_is_refused() {
        let values = filled();
        let image = values.snapshot();
        let mut other = LastValues::default();
        other.take(&[event(Kind::Trade, 900, 11, 5)]);
        assert_eq!(other.restore(&image), Ok(9));
        assert_eq!(other.snapshot(), image);
        assert_eq!((price(&other, 11, What::Trade), other.top(8)), (None, values.top(8)));
        for at in 0..image.len() {
            let mut damaged = image.clone();
            damaged[at] ^= 1;
            assert!(other.restore(&damaged).is_err(), "byte {at}");
            assert!(other.restore(&image[..at]).is_err(), "cut at {at}");
        }
        let mut newer = image.clone();
        newer[4] = 2;
        assert_eq!(other.restore(&newer), Err(BadImage::Version(2)));
        assert_eq!(other.snapshot(), image);
    }

    #[test]
    fn there_is_a_bound_and_what_finds_no_room_is_counted() {
        let mut values = LastValues::default();
        for instrument in 1..=INSTRUMENTS_MAX as u32 + 3 {
            values.take(&[event(Kind::Trade, 1, instrument, 1)]);
        }
        assert_eq!((values.count(), values.refused()), (INSTRUMENTS_MAX, 3));
        assert_eq!(price(&values, INSTRUMENTS_MAX as u32, What::Trade), Some(1));
    }
}
