//! What can be seen of one instrument's market: the last quote, the book where it is followed, and what we took of it.
//!
//! Whatever was received later is believed about the touch: a quote hides the levels of an older book that are better than
//! it. It matches nothing.

use crate::book::builder::BookBuilder;
use crate::book::l2::{Level, Levels, Side};
use crate::book::sync::Rule;
use crate::event::{flag, side, BookState, Event, Kind, PRICE_UNDEF, SIZE_UNDEF};

/// Prices per side at which we may have taken something that is still displayed.
const TAKEN_MAX: usize = 256;

/// One side of the last quote; size 0: nobody is there, or no quote has come.
#[derive(Debug, Clone, Copy, Default)]
struct Touch {
    price: i64,
    size: i64,
}

#[derive(Debug, Clone)]
struct Book {
    builder: BookBuilder,
    /// The decoder said that something is missing.
    broken: bool,
    /// Number of the last event taken.
    seq: u64,
}

/// The market of one instrument.
#[derive(Debug, Clone, Default)]
pub struct Market {
    bid: Touch,
    ask: Touch,
    quote_seq: u64,
    book: Option<Box<Book>>,
    /// (price, size) of what we took from bids and from asks and is, as far as can be seen, displayed still.
    taken: [Vec<(i64, i64)>; 2],
}

/// The other side.
pub const fn opposite(of: Side) -> Side {
    match of {
        Side::Bid => Side::Ask,
        Side::Ask => Side::Bid,
    }
}

/// Whether `price` is better than `other` for who stands on that side.
pub const fn is_better(on: Side, price: i64, other: i64) -> bool {
    match on {
        Side::Bid => price > other,
        Side::Ask => price < other,
    }
}

/// Kinds that belong to a book.
pub const fn is_depth(kind: u8) -> bool {
    const KINDS: [u8; 4] = [
        Kind::DepthHead as u8,
        Kind::Depth as u8,
        Kind::Clear as u8,
        Kind::BookState as u8,
    ];
    kind == KINDS[0] || kind == KINDS[1] || kind == KINDS[2] || kind == KINDS[3]
}

impl Market {
    /// Keeps the book from now on; what a venue sends as changes is a book only behind its next snapshot.
    pub fn follow(&mut self, rule: Rule) {
        if self.book.is_none() {
            self.book = Some(Box::new(Book {
                builder: BookBuilder::new(rule),
                broken: false,
                seq: 0,
            }));
        }
    }

    /// Whether it keeps a book.
    pub fn follows(&self) -> bool {
        self.book.is_some()
    }

    /// Takes one side of a quote.
    #[inline]
    pub fn quote(&mut self, event: &Event) {
        const BESIDE: u16 = flag::TRIAL | flag::ODD_LOT | flag::BACKFILLED;
        if event.flags & BESIDE != 0 || event.seq < self.quote_seq {
            return;
        }
        let is_there = event.price != PRICE_UNDEF && event.size != SIZE_UNDEF && event.size > 0;
        let touch = Touch {
            price: event.price,
            size: if is_there { event.size } else { 0 },
        };
        if event.side == side::BID {
            self.bid = touch;
        } else {
            self.ask = touch;
        }
        self.quote_seq = event.seq;
    }

    /// Takes whole depth messages of the instrument.
    pub fn depth(&mut self, events: &[Event], instrument: u32) {
        let Some(book) = self.book.as_deref_mut() else { return };
        for event in events.iter().filter(|event| event.kind == Kind::BookState as u8) {
            book.broken = event.aux != BookState::Synced as i64;
        }
        book.builder.apply(events, instrument);
        book.seq = events.last().map_or(book.seq, |event| book.seq.max(event.seq));
    }

    /// The book, where it can be trusted, and whether it is newer than the quote.
    fn book(&self) -> Option<(&Levels, bool)> {
        let book = self.book.as_deref()?;
        let is_live = book.builder.state() == BookState::Synced && !book.broken;
        is_live.then(|| (book.builder.levels(), book.seq >= self.quote_seq))
    }

    fn touch(&self, of: Side) -> Touch {
        match of {
            Side::Bid => self.bid,
            Side::Ask => self.ask,
        }
    }

    /// The displayed levels of a side, best first.
    fn levels(&self, of: Side) -> impl Iterator<Item = Level> + '_ {
        let (book, touch) = match self.book() {
            Some((levels, true)) => (Some(levels), None),
            Some((levels, false)) => (Some(levels), Some(self.touch(of))),
            None => (None, Some(self.touch(of))),
        };
        let first = touch.filter(|touch| touch.size > 0).map(|touch| Level {
            price: touch.price,
            size: touch.size,
        });
        // A quote that says that nobody is there hides the whole side.
        let behind = book.filter(|_| touch.is_none() || first.is_some());
        let rest = behind.into_iter().flat_map(move |levels| levels.iter(of));
        let rest = rest.filter(move |level| first.is_none_or(|first| is_better(of, first.price, level.price)));
        first.into_iter().chain(rest)
    }

    /// The best displayed price of a side.
    pub fn best(&self, of: Side) -> Option<i64> {
        self.levels(of).next().map(|level| level.price)
    }

    /// What the level at `price` shows; `None`: it cannot be seen.
    pub fn shown(&self, of: Side, price: i64) -> Option<i64> {
        let book = self.book();
        if !matches!(book, Some((_, true))) {
            let touch = self.touch(of);
            if touch.size > 0 && touch.price == price {
                return Some(touch.size);
            }
            if touch.size > 0 && is_better(of, price, touch.price) {
                return Some(0);
            }
            if touch.size == 0 && self.quote_seq > 0 {
                return Some(0);
            }
        }
        let (levels, _) = book?;
        let limit = levels.known_limit(of);
        match levels.size_at(of, price) {
            Some(size) => Some(size),
            None if limit.is_some_and(|limit| is_better(of, limit, price)) => None,
            None => Some(0),
        }
    }

    /// Takes note that we took `size` at `price`. False: there is no room for the note, so nothing may be taken.
    pub fn note_taken(&mut self, of: Side, price: i64, size: i64) -> bool {
        let taken = self.taken_mut(of);
        if let Some((_, before)) = taken.iter_mut().find(|(at, _)| *at == price) {
            *before = before.saturating_add(size);
            return true;
        }
        let has_room = taken.len() < TAKEN_MAX;
        if has_room {
            taken.push((price, size));
        }
        has_room
    }

    fn taken_mut(&mut self, of: Side) -> &mut Vec<(i64, i64)> {
        let [bids, asks] = &mut self.taken;
        match of {
            Side::Bid => bids,
            Side::Ask => asks,
        }
    }

    fn taken(&self, of: Side) -> &[(i64, i64)] {
        let [bids, asks] = &self.taken;
        match of {
            Side::Bid => bids,
            Side::Ask => asks,
        }
    }

    /// Whether something of what is displayed is ours already.
    pub fn has_taken(&self) -> bool {
        self.taken.iter().any(|taken| !taken.is_empty())
    }

    /// Forgets what we took of levels that are gone, or cannot be seen any more: who is shown there later is somebody else.
    pub fn forget_gone(&mut self) {
        for of in [Side::Bid, Side::Ask] {
            if self.taken(of).is_empty() {
                continue;
            }
            let mut taken = std::mem::take(self.taken_mut(of));
            taken.retain(|(price, _)| self.shown(of, *price).is_some_and(|shown| shown > 0));
            *self.taken_mut(of) = taken;
        }
    }

    /// What can be taken from a side at `limit` or better (`None`: at any price), best first, until `size` is reached.
    pub fn within(&self, of: Side, limit: Option<i64>, size: i64) -> Vec<Level> {
        let mut found = Vec::new();
        let mut missing = size;
        for level in self.levels(of) {
            if missing <= 0 || limit.is_some_and(|limit| is_better(of, limit, level.price)) {
                break;
            }
            let ours = self.taken(of).iter().find(|(price, _)| *price == level.price);
            let left = level
                .size
                .saturating_sub(ours.map_or(0, |(_, taken)| *taken))
                .min(missing);
            if left > 0 {
                missing -= left;
                found.push(Level {
                    price: level.price,
                    size: left,
                });
            }
        }
        found
    }
}
