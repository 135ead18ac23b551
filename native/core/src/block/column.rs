//! A column under construction: bytes as ClickHouse's Native format wants them, little-endian, in row order.

use crate::reuse;

/// Bytes of one column.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// `width` bytes per row.
    Fixed { width: usize, bytes: Vec<u8> },
    /// Arrays of i64: the cumulative end of each row's array (u64), then all values.
    Array { ends: Vec<u8>, values: Vec<u8> },
}

/// Bytes per row of a ClickHouse type; none for arrays.
pub(super) fn width(kind: &str) -> Option<usize> {
    match kind {
        "UInt8" => Some(1),
        "UInt16" => Some(2),
        "UInt32" | "Int32" => Some(4),
        "Array(Int64)" => None,
        _ if kind.starts_with("Enum8") => Some(1),
        _ => Some(8),
    }
}

impl Column {
    /// An empty column of a ClickHouse type.
    pub fn of(kind: &str) -> Self {
        match width(kind) {
            Some(width) => Column::Fixed {
                width,
                bytes: Vec::new(),
            },
            None => Column::Array {
                ends: Vec::new(),
                values: Vec::new(),
            },
        }
    }

    /// Empties it for the next block.
    pub fn clear(&mut self) {
        match self {
            Column::Fixed { bytes, .. } => reuse::empty(bytes),
            Column::Array { ends, values } => {
                reuse::empty(ends);
                reuse::empty(values);
            }
        }
    }

    /// Bytes of memory, used or not.
    pub fn capacity(&self) -> usize {
        match self {
            Column::Fixed { bytes, .. } => bytes.capacity(),
            Column::Array { ends, values } => ends.capacity() + values.capacity(),
        }
    }

    pub fn len_bytes(&self) -> usize {
        match self {
            Column::Fixed { bytes, .. } => bytes.len(),
            Column::Array { ends, values } => ends.len() + values.len(),
        }
    }

    /// Appends one fixed-width value per item.
    pub fn put<T, const N: usize>(&mut self, items: &[T], value: impl Fn(&T) -> [u8; N]) {
        let Column::Fixed { width, bytes } = self else {
            return debug_assert!(false, "an array column takes arrays");
        };
        debug_assert_eq!(*width, N);
        bytes.reserve(items.len() * N);
        for item in items {
            bytes.extend_from_slice(&value(item));
        }
    }

    /// Appends one array per item.
    pub fn put_arrays<'a, T, I>(&mut self, items: &'a [T], array: impl Fn(&'a T) -> I)
    where
        I: Iterator<Item = i64>,
    {
        let Column::Array { ends, values } = self else {
            return debug_assert!(false, "a fixed column takes values");
        };
        for item in items {
            for value in array(item) {
                values.extend_from_slice(&value.to_le_bytes());
            }
            ends.extend_from_slice(&((values.len() / 8) as u64).to_le_bytes());
        }
    }

    /// The same column with its rows in the given order.
    pub fn ordered(&self, order: &[u32]) -> Self {
        match self {
            Column::Fixed { width, bytes } => {
                let mut out = Vec::with_capacity(bytes.len());
                for row in order {
                    let start = *row as usize * width;
                    out.extend_from_slice(bytes.get(start..start + width).unwrap_or_default());
                }
                Column::Fixed {
                    width: *width,
                    bytes: out,
                }
            }
            Column::Array { ends, values } => {
                let (mut new_ends, mut new_values) = (Vec::with_capacity(ends.len()), Vec::with_capacity(values.len()));
                for row in order {
                    let row = *row as usize;
                    let start = row.checked_sub(1).map_or(0, |before| read_u64(ends, before)) as usize * 8;
                    let stop = read_u64(ends, row) as usize * 8;
                    new_values.extend_from_slice(values.get(start..stop).unwrap_or_default());
                    new_ends.extend_from_slice(&((new_values.len() / 8) as u64).to_le_bytes());
                }
                Column::Array {
                    ends: new_ends,
                    values: new_values,
                }
            }
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Column::Fixed { bytes, .. } => out.extend_from_slice(bytes),
            Column::Array { ends, values } => {
                out.extend_from_slice(ends);
                out.extend_from_slice(values);
            }
        }
    }

    /// The row's value in a column of u64.
    pub fn u64_at(&self, row: usize) -> u64 {
        match self {
            Column::Fixed { bytes, .. } => read_u64(bytes, row),
            Column::Array { ends, .. } => read_u64(ends, row),
        }
    }
}

fn read_u64(bytes: &[u8], index: usize) -> u64 {
    bytes
        .get(index * 8..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Appends a LEB128 number, as Native headers have them.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length-prefixed text.
pub(super) fn text(out: &mut Vec<u8>, value: &str) {
    varint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}
