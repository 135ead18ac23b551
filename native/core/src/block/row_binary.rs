//! A block's rows in *RowBinary*: the same values, row by row, made from the Native body.
//!
//! It is made from the finished Native body and not beside it, so that there is one place where events become values and one
//! hash of a block's rows, whatever they travel in.

use super::column::varint;
use super::schema::{columns, Table};
use crate::error::{Error, Reason, Result};

/// One column of a Native body.
enum Part<'a> {
    /// `width` bytes per row.
    Fixed { width: usize, bytes: &'a [u8] },
    /// Arrays of i64: cumulative ends (u64 per row), then the values.
    Array { ends: &'a [u8], values: &'a [u8] },
}

/// Reads a Native body from the front.
struct Cursor<'a> {
    rest: &'a [u8],
    whole: usize,
}

/// The rows of a Native `body` of `table`, in its columns' order. Errors: `Malformed` when it is no such block.
pub fn row_binary(table: Table, body: &[u8]) -> Result<Vec<u8>> {
    let mut cursor = Cursor {
        rest: body,
        whole: body.len(),
    };
    let count = cursor.varint()?;
    let rows = usize::try_from(cursor.varint()?).map_err(|_| cursor.malformed())?;
    let mut parts = Vec::new();
    for (name, kind) in columns(table) {
        if cursor.text()? != name.as_bytes() || cursor.text()? != kind.as_bytes() {
            return Err(cursor.malformed());
        }
        parts.push(cursor.part(kind, rows)?);
    }
    if count != parts.len() as u64 || !cursor.rest.is_empty() {
        return Err(cursor.malformed());
    }
    // An array costs one to three bytes for its length instead of eight for its end.
    let mut out = Vec::with_capacity(body.len());
    for row in 0..rows {
        for part in &parts {
            part.write(row, &mut out);
        }
    }
    Ok(out)
}

impl Part<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            // Widths as constants: a copy of a known size is one instruction.
            Part::Fixed { width: 8, bytes } => put::<8>(bytes, row, out),
            Part::Fixed { width: 4, bytes } => put::<4>(bytes, row, out),
            Part::Fixed { width: 2, bytes } => put::<2>(bytes, row, out),
            Part::Fixed { width, bytes } => {
                out.extend_from_slice(bytes.get(row * width..(row + 1) * width).unwrap_or_default());
            }
            Part::Array { ends, values } => {
                let start = row.checked_sub(1).map_or(0, |before| end(ends, before));
                let stop = end(ends, row);
                varint(out, stop.saturating_sub(start) as u64);
                out.extend_from_slice(values.get(start * 8..stop * 8).unwrap_or_default());
            }
        }
    }
}

fn put<const N: usize>(bytes: &[u8], row: usize, out: &mut Vec<u8>) {
    if let Some(value) = bytes.get(row * N..).and_then(|rest| rest.first_chunk::<N>()) {
        out.extend_from_slice(value);
    }
}

/// The cumulative end of a row's array, in values; checked when the part was read.
fn end(ends: &[u8], row: usize) -> usize {
    ends.get(row * 8..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |eight| u64::from_le_bytes(*eight) as usize)
}

impl<'a> Cursor<'a> {
    fn malformed(&self) -> Error {
        Error::new(Reason::Malformed, self.whole - self.rest.len())
    }

    fn take(&mut self, bytes: Option<usize>) -> Result<&'a [u8]> {
        let Some((head, rest)) = bytes.and_then(|bytes| self.rest.split_at_checked(bytes)) else {
            return Err(self.malformed());
        };
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.take(Some(1))?.first().copied().unwrap_or_default();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let bytes = usize::try_from(self.varint()?).ok();
        self.take(bytes)
    }

    fn part(&mut self, kind: &str, rows: usize) -> Result<Part<'a>> {
        let Some(width) = super::column::width(kind) else {
            let ends = self.take(rows.checked_mul(8))?;
            let mut before = 0;
            for row in 0..rows {
                if end(ends, row) < before {
                    return Err(self.malformed());
                }
                before = end(ends, row);
            }
            let values = self.take(before.checked_mul(8))?;
            return Ok(Part::Array { ends, values });
        };
        let bytes = self.take(rows.checked_mul(width))?;
        Ok(Part::Fixed { width, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Assembler, TABLES};
    use crate::event::{flag, side, Event, Kind};

    fn trade(number: u64) -> Event {
        let mut event = Event::new(Kind::Trade, number << 16, 100, 2, 7);
        (event.price, event.size, event.id) = (-5, i64::MAX, u64::MAX);
        (event.side, event.flags) = (side::ASK, flag::LAST);
        event
    }

    fn body_of(events: &[Event], table: Table) -> Vec<u8> {
        let mut assembler = Assembler::new(9, 0);
        assembler.push(events, 9, 0);
        let cut = assembler.cut();
        cut.blocks.into_iter().find(|block| block.table == table).unwrap().body
    }

    #[test]
    fn a_trade_is_its_columns_in_order() {
        let body = body_of(&[trade(1), trade(2)], Table::Trades);
        let rows = row_binary(Table::Trades, &body).unwrap();
        let width = 2 + 8 * 3 + 4 + 1 + 1 + 2 + 8 * 3 + 1 + 4;
        assert_eq!(rows.len(), 2 * width);
        let (first, second) = rows.split_at(width);
        assert_eq!(first[..2], 9_u16.to_le_bytes());
        assert_eq!(second[2..10], (2_u64 << 16).to_le_bytes());
        assert_eq!(first[34..42], u64::MAX.to_le_bytes(), "id");
        assert_eq!(first[42..50], (-5_i64).to_le_bytes(), "price");
        assert_eq!(first[50..58], i64::MAX.to_le_bytes(), "size");
        assert_eq!(first[58], 2, "side");
    }

    #[test]
    fn arrays_carry_their_length() {
        let mut head = Event::new(Kind::DepthHead, 1 << 16, 100, 0, 7);
        head.aux = 3;
        let mut events = vec![head];
        for index in 1..=3 {
            let mut level = Event::new(Kind::Depth, 1 << 16 | index, 100, 2, 7);
            level.price = index as i64;
            level.side = if index == 3 { side::ASK } else { side::BID };
            events.push(level);
        }
        let rows = row_binary(Table::Book, &body_of(&events, Table::Book)).unwrap();
        let arrays = &rows[2 + 8 * 3 + 4 + 1 + 1 + 2 + 8 * 3..];
        assert_eq!(arrays[0], 2, "two bids");
        assert_eq!(arrays[1..9], 1_i64.to_le_bytes());
        assert_eq!(arrays[9..17], 2_i64.to_le_bytes());
        assert_eq!(arrays[17], 2, "their sizes");
        assert_eq!(arrays[34], 1, "one ask");
        assert_eq!(arrays[35..43], 3_i64.to_le_bytes());
    }

    #[test]
    fn every_cut_and_every_other_table_is_refused() {
        let body = body_of(&[trade(1)], Table::Trades);
        for length in 0..body.len() {
            assert!(row_binary(Table::Trades, &body[..length]).is_err(), "{length} bytes");
        }
        for table in TABLES.into_iter().filter(|table| *table != Table::Trades) {
            assert!(row_binary(table, &body).is_err());
        }
        let longer = [body.as_slice(), &[0]].concat();
        assert!(row_binary(Table::Trades, &longer).is_err());
    }
}
