//! The 64-byte event: one cache line, little-endian, the same bytes in Rust, numpy and on the bus.
//!
//! Names, side letters, sentinels and the low flag bits are those of Databento DBN where it has them.

/// Bytes of one event.
pub const EVENT_BYTES: usize = 64;
/// Undefined price or size (DBN's sentinel).
pub const PRICE_UNDEF: i64 = i64::MAX;
/// Undefined size.
pub const SIZE_UNDEF: i64 = i64::MAX;
/// Undefined time.
pub const TS_UNDEF: i64 = i64::MAX;
/// Undefined venue id.
pub const ID_UNDEF: u64 = u64::MAX;
/// The sequence number's low bits that count events inside one frame number.
pub const SEQ_INDEX_BITS: u32 = 16;

/// One normalised market event. Field order is the memory layout; `tests` and `tickd/events.py` pin it.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Venue time, ns since the Unix epoch, UTC (engine time, else send time, else `TS_UNDEF`).
    pub ts_event: i64,
    /// Wall clock at the socket read, ns.
    pub ts_recv: i64,
    /// `frame_no << 16 | index in the frame`: identity and total order of the node.
    pub seq: u64,
    /// Venue id by kind: trade id, update id (`ID_UNDEF` where there is none).
    pub id: u64,
    /// Mantissa in the instrument's price scale; other meanings by kind, see `Kind`.
    pub price: i64,
    /// Mantissa in the instrument's size scale; other meanings by kind, see `Kind`.
    pub size: i64,
    /// By kind: level index, fill count, decimals of a non-price value, state, gap cause.
    pub aux: i64,
    /// Stable hash of the instrument definition; 0 = none.
    pub instrument: u32,
    /// Bits of `flag`.
    pub flags: u16,
    /// `Kind` as u8.
    pub kind: u8,
    /// `B`, `A` or `N`; for trades the aggressor.
    pub side: u8,
}

/// What an event says. The doc line of each gives the meaning of the fields that vary.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A trade: id = trade id, side = aggressor, aux = number of fills (1 unless AGGREGATE).
    Trade = 1,
    /// One side of the best bid and offer: id = update id (or `ID_UNDEF`); bid first, ask second and LAST.
    Quote = 2,
    /// Start of a depth message: id = last id, price = first id, size = previous id (`SIZE_UNDEF` if none), aux = levels.
    DepthHead = 3,
    /// One level: id as the head, size 0 deletes, aux = index in the message.
    Depth = 4,
    /// The book of this instrument is to be emptied.
    Clear = 5,
    /// An order was added at the back of its level (order-by-order venues, as all until `Execute`): id = order id.
    Add = 6,
    /// An order was cancelled: size = what was taken from it, `SIZE_UNDEF` = all; with size left it keeps its place.
    Cancel = 7,
    /// An order was changed: price and size are the new ones. It keeps its place if the price stays and the size does not
    /// grow. An order that is replaced by one with another id is a CANCEL and an ADD.
    Modify = 8,
    /// An order was executed: size = what was executed of it, price = what for; at 0 left it is gone.
    Execute = 9,
    /// A verdict of the synchroniser: aux = `BookState`, id = last id of the book, price = id expected, size = id received.
    BookState = 10,
    /// The venue's or the instrument's status: aux = status code.
    Status = 11,
    /// Funding rate: price = mantissa with aux decimals, id = next funding time (ns) or `ID_UNDEF`.
    Funding = 12,
    /// Mark price: price = mantissa with aux decimals.
    Mark = 13,
    /// Index price: price = mantissa with aux decimals.
    Index = 14,
    /// Open interest: size = mantissa in the size scale.
    OpenInterest = 15,
    /// A forced order: price = order price, size = order size, aux = average price mantissa (price scale).
    Liquidation = 16,
    /// Something is or may be missing: ts_event = start, ts_recv = end of the interval; id = first missing id, price = last
    /// missing id, size = missing count (each UNDEF where unknown), aux = `GapCause | channel << 8`.
    Gap = 17,
    /// The recorded clock: ts_event = ts_recv = the moment. Strategies' timers fire on these only.
    Clock = 18,
    /// What became of an order of ours: id = client id, aux = `OrderState`, price and size = the fill (each UNDEF without one).
    Order = 19,
    /// The value of an indicator: id = its float64 bits, aux = number of the indicator's definition; seq and times are those of
    /// the last record of the message that caused it.
    Signal = 20,
}

/// Bits of `Event::flags`; the low byte is DBN's.
pub mod flag {
    /// Last record of a venue message.
    pub const LAST: u16 = 0x0080;
    /// Top of book.
    pub const TOB: u16 = 0x0040;
    /// From a snapshot, not from a change.
    pub const SNAPSHOT: u16 = 0x0020;
    /// The receive stamp is not trustworthy.
    pub const BAD_TS_RECV: u16 = 0x0008;
    /// The book may be wrong (a gap is open).
    pub const MAYBE_BAD_BOOK: u16 = 0x0004;
    /// The event lies in the future of its receive stamp: the clocks disagree.
    pub const SKEW: u16 = 0x0100;
    /// Made by tickd, not said by the venue.
    pub const SYNTHETIC: u16 = 0x0200;
    /// Fetched later.
    pub const BACKFILLED: u16 = 0x0400;
    /// The venue merged several fills into this one.
    pub const AGGREGATE: u16 = 0x0800;
    /// A trade outside the order book (insurance fund, ADL, block).
    pub const OFF_BOOK: u16 = 0x1000;
    /// The venue gave no time: `ts_event` is `TS_UNDEF`.
    pub const NO_EVENT_TIME: u16 = 0x2000;
    /// An odd lot: traded beside the order book of round lots, sizes in shares.
    pub const ODD_LOT: u16 = 0x4000;
    /// A trial match before an auction: indicative, nothing was traded.
    pub const TRIAL: u16 = 0x8000;
}

/// Side letters.
pub mod side {
    /// Bid, or a buying aggressor.
    pub const BID: u8 = b'B';
    /// Ask, or a selling aggressor.
    pub const ASK: u8 = b'A';
    /// Neither.
    pub const NONE: u8 = b'N';
}

/// State of a synchronised book, `aux` of `Kind::BookState`.
#[repr(i64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookState {
    /// Nothing received yet.
    Init = 0,
    /// Changes are kept until a snapshot arrives.
    Buffering = 1,
    /// Snapshot and changes are proven to join.
    Synced = 2,
    /// A change is missing; a snapshot is wanted.
    Gap = 3,
}

/// Cause of a gap, `aux` of `Kind::Gap`.
#[repr(i64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The connection was lost.
    Disconnect = 1,
    /// tickd was not running (restart, crash).
    Restart = 2,
    /// The venue's own numbering has a hole.
    Sequence = 3,
    /// The disk was full or failed.
    Disk = 4,
    /// A queue overflowed.
    Overflow = 5,
    /// A damaged part of the raw log was quarantined.
    Quarantine = 6,
    /// The wall clock stepped.
    Clock = 7,
    /// The channel was given up for a time, for lack of room on the disk.
    Shed = 8,
}

/// State of an order of ours, `aux` of `Kind::Order`.
#[repr(i64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// On its way; the venue has not answered.
    Sent = 1,
    /// Not taken by the venue; final. Logs of before there was a gate say so of what was not let through, too.
    Rejected = 2,
    /// Rests at the venue.
    Accepted = 3,
    /// A fill, with some size left.
    PartlyFilled = 4,
    /// The last fill; final.
    Filled = 5,
    /// Taken back; final.
    Cancelled = 6,
    /// Ended by the venue's clock; final.
    Expired = 7,
    /// Nobody knows whether the venue has it.
    Unknown = 8,
    /// Not let through by the gate or the router: it never left; final.
    Denied = 9,
    /// Its cancellation is on its way; it may still be filled.
    PendingCancel = 10,
    /// Another price or size is on its way; it may still be filled as it was.
    PendingReplace = 11,
    /// Let through; not on its way yet.
    PendingNew = 12,
}

impl OrderState {
    /// The state with this name, as control records have it.
    pub fn parse(name: &str) -> Option<OrderState> {
        Some(match name {
            "sent" => OrderState::Sent,
            // The first of them is the word of older logs.
            "refused" | "rejected" => OrderState::Rejected,
            "accepted" => OrderState::Accepted,
            "partly_filled" => OrderState::PartlyFilled,
            "filled" => OrderState::Filled,
            "cancelled" => OrderState::Cancelled,
            "expired" => OrderState::Expired,
            "unknown" => OrderState::Unknown,
            "denied" => OrderState::Denied,
            "pending_cancel" => OrderState::PendingCancel,
            "pending_replace" => OrderState::PendingReplace,
            "pending_new" => OrderState::PendingNew,
            _ => return None,
        })
    }

    /// Whether nothing more is expected of an order in the state with this number; a late fill may come all the same.
    pub const fn is_end(number: i64) -> bool {
        const REJECTED: i64 = OrderState::Rejected as i64;
        const FILLED: i64 = OrderState::Filled as i64;
        const CANCELLED: i64 = OrderState::Cancelled as i64;
        const EXPIRED: i64 = OrderState::Expired as i64;
        const DENIED: i64 = OrderState::Denied as i64;
        matches!(number, REJECTED | FILLED | CANCELLED | EXPIRED | DENIED)
    }
}

impl Event {
    /// An event with every field undefined or zero but the given ones.
    pub const fn new(kind: Kind, seq: u64, ts_event: i64, ts_recv: i64, instrument: u32) -> Self {
        Event {
            ts_event,
            ts_recv,
            seq,
            id: ID_UNDEF,
            price: PRICE_UNDEF,
            size: SIZE_UNDEF,
            aux: 0,
            instrument,
            flags: 0,
            kind: kind as u8,
            side: side::NONE,
        }
    }

    /// The event whose memory these bytes are.
    pub fn from_bytes(bytes: &[u8; EVENT_BYTES]) -> Self {
        let mut words = [0; 8];
        for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(part.first_chunk().copied().unwrap_or_default());
        }
        Event::from_words(words)
    }

    /// Its memory as eight little-endian words.
    pub const fn to_words(&self) -> [u64; 8] {
        let tail =
            self.instrument as u64 | (self.flags as u64) << 32 | (self.kind as u64) << 48 | (self.side as u64) << 56;
        [
            self.ts_event as u64,
            self.ts_recv as u64,
            self.seq,
            self.id,
            self.price as u64,
            self.size as u64,
            self.aux as u64,
            tail,
        ]
    }

    /// The event whose memory these words are; any words are one.
    pub const fn from_words(words: [u64; 8]) -> Self {
        let [ts_event, ts_recv, seq, id, price, size, aux, tail] = words;
        Event {
            ts_event: ts_event as i64,
            ts_recv: ts_recv as i64,
            seq,
            id,
            price: price as i64,
            size: size as i64,
            aux: aux as i64,
            instrument: tail as u32,
            flags: (tail >> 32) as u16,
            kind: (tail >> 48) as u8,
            side: (tail >> 56) as u8,
        }
    }

    /// Its memory, as `from_bytes` reads it.
    pub fn to_bytes(&self) -> [u8; EVENT_BYTES] {
        let tail = u64::from(self.instrument)
            | u64::from(self.flags) << 32
            | u64::from(self.kind) << 48
            | u64::from(self.side) << 56;
        let eights = [
            self.ts_event as u64,
            self.ts_recv as u64,
            self.seq,
            self.id,
            self.price as u64,
            self.size as u64,
            self.aux as u64,
            tail,
        ];
        let mut bytes = [0; EVENT_BYTES];
        for (into, eight) in bytes.chunks_exact_mut(8).zip(eights) {
            into.copy_from_slice(&eight.to_le_bytes());
        }
        bytes
    }

    /// Number of the frame this event came from.
    pub const fn frame_no(&self) -> u64 {
        self.seq >> SEQ_INDEX_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{align_of, offset_of, size_of};

    #[test]
    fn layout_is_one_cache_line_and_never_moves() {
        assert_eq!((size_of::<Event>(), align_of::<Event>()), (EVENT_BYTES, 64));
        let offsets = [
            offset_of!(Event, ts_event),
            offset_of!(Event, ts_recv),
            offset_of!(Event, seq),
            offset_of!(Event, id),
            offset_of!(Event, price),
            offset_of!(Event, size),
            offset_of!(Event, aux),
            offset_of!(Event, instrument),
            offset_of!(Event, flags),
            offset_of!(Event, kind),
            offset_of!(Event, side),
        ];
        assert_eq!(offsets, [0, 8, 16, 24, 32, 40, 48, 56, 60, 62, 63]);
    }

    #[test]
    fn bytes_and_words_are_the_same_memory() {
        let bytes: [u8; EVENT_BYTES] = std::array::from_fn(|at| at as u8 + 1);
        let event = Event::from_bytes(&bytes);
        assert_eq!(event.seq.to_le_bytes(), bytes[16..24]);
        assert_eq!((event.instrument.to_le_bytes(), event.side), ([57, 58, 59, 60], 64));
        assert_eq!((event.flags.to_le_bytes(), event.kind), ([61, 62], 63));
        assert_eq!(event.to_words().map(u64::to_le_bytes).concat(), bytes);
        assert_eq!(Event::from_words(event.to_words()), event);
    }
}
