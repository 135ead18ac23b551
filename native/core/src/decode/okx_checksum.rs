//! The checksum of OKX's older book messages: CRC32 over the text of the first 25 levels.
//!
//! Since July 2026 the venue sends 0 and sequence ids are the proof; recordings from before have no ids. The text counts
//! (`0.10` is not `0.1`), so those recordings get a book of texts beside the one of numbers. It is part of the checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decimal;
use crate::decode::json::{Cursor, Value};
use crate::decode::symbols::Market;
use crate::error::{Error, Reason, Result};

/// Levels per side that the checksum covers.
const CHECKED_LEVELS: usize = 25;

/// A book message with its levels as they stand in the frame.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub market: Market,
    pub snapshot: bool,
    pub bids: Option<Cursor<'a>>,
    pub asks: Option<Cursor<'a>>,
    pub checksum: Value<'a>,
}

/// Price mantissa to `price:size` as the venue wrote them.
type Texts = BTreeMap<i64, String>;

/// The book of one instrument as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TextBook {
    bids: Texts,
    asks: Texts,
}

/// The books of texts by slot; empty unless old recordings are read.
#[derive(Debug, Default)]
pub(crate) struct TextBooks {
    books: BTreeMap<u32, TextBook>,
}

impl TextBooks {
    /// Applies a book message; the checksums said and reckoned when they differ. The book then goes until the next snapshot.
    #[cold]
    pub(super) fn check(&mut self, checked: &Checked<'_>) -> Result<Option<(u32, u32)>> {
        let said = std::str::from_utf8(checked.checksum.bytes)
            .ok()
            .and_then(|text| text.parse::<i32>().ok());
        let said = said.ok_or(Error::new(Reason::Malformed, checked.checksum.at))?;
        let slot = checked.market.slot;
        if checked.snapshot {
            self.books.insert(slot, TextBook::default());
        }
        let Some(book) = self.books.get_mut(&slot) else {
            return Ok(None);
        };
        apply(&mut book.bids, checked.bids.clone(), checked.market.price_scale)?;
        apply(&mut book.asks, checked.asks.clone(), checked.market.price_scale)?;
        let reckoned = checksum(book);
        if reckoned == said {
            return Ok(None);
        }
        self.books.remove(&slot);
        Ok(Some((said as u32, reckoned as u32)))
    }

    /// The book of a slot, for a checkpoint.
    pub(super) fn get(&self, slot: u32) -> Option<&TextBook> {
        self.books.get(&slot)
    }

    /// Takes the book of a slot back.
    pub(super) fn insert(&mut self, slot: u32, book: TextBook) {
        self.books.insert(slot, book);
    }
}

fn apply(texts: &mut Texts, levels: Option<Cursor<'_>>, price_scale: u8) -> Result<()> {
    let Some(mut cursor) = levels else { return Ok(()) };
    cursor.expect(b'[')?;
    let mut first = true;
    while cursor.element(&mut first)? {
        cursor.expect(b'[')?;
        let price = cursor.value()?;
        cursor.expect(b',')?;
        let size = cursor.value()?;
        let mut inner = false;
        while cursor.element(&mut inner)? {
            cursor.value()?;
        }
        let key = decimal::parse(price.bytes, price_scale)?;
        if decimal::parse_own(size.bytes)?.0 == 0 {
            texts.remove(&key);
        } else {
            let text = [price.bytes, b":", size.bytes].concat();
            texts.insert(key, String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(())
}

/// Levels interleaved, bid first, joined by `:`; a side that is shorter is left out.
fn checksum(book: &TextBook) -> i32 {
    let (mut bids, mut asks) = (book.bids.values().rev(), book.asks.values());
    let mut text: Vec<&str> = Vec::with_capacity(2 * CHECKED_LEVELS);
    for _ in 0..CHECKED_LEVELS {
        text.extend(bids.next().map(String::as_str));
        text.extend(asks.next().map(String::as_str));
    }
    crc32fast::hash(text.join(":").as_bytes()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_interleaved_as_the_documentation_shows() {
        let mut book = TextBook::default();
        let both = br#"[["3366.1","7","0","3"],["3366","6","3","4"]]"#;
        apply(&mut book.bids, Some(Cursor::new(both)), 1).unwrap();
        apply(&mut book.asks, Some(Cursor::new(br#"[["3366.8","9","10","3"]]"#)), 1).unwrap();
        assert_eq!(checksum(&book), crc32fast::hash(b"3366.1:7:3366.8:9:3366:6") as i32);
        apply(&mut book.bids, Some(Cursor::new(br#"[["3366.1","0","0","0"]]"#)), 1).unwrap();
        assert_eq!(checksum(&book), crc32fast::hash(b"3366:6:3366.8:9") as i32);
    }
}
